"""Every row of OpenAI's audio contract by the unmodified SDK, sync and async; docs/conformance.md is what came out.

RAYSCRIBE_WRITE_DOCS=1 writes that page instead of comparing with it.
"""

import asyncio
import os
from collections.abc import Iterator
from functools import reduce
from typing import Any

import openai
import pytest

from tests.cluster.local.contract import ROWS, Ask, Row
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
PAGE = ROOT / "docs" / "conformance.md"
HEAD = """# OpenAI's audio contract, as its SDK sees it

Made by `RAYSCRIBE_WRITE_DOCS=1 .venv/bin/pytest tests/cluster/local/test_conformance.py`; a test of the default tier
holds the page to what comes out. The judge is the unmodified `openai` SDK (the newest that the lock names), sync and
async, over the real service with the demo models. *Refused* is an error in OpenAI's shape that names the parameter.

| endpoint | what | sync | async | |
|---|---|---|---|---|
"""


def _ask_sync(base: str) -> Ask:
    client = openai.OpenAI(base_url=base, api_key="none", max_retries=0, _strict_response_validation=True)

    def ask(path: str, **options: Any) -> Any:
        answer = reduce(getattr, path.split("."), client)(**options)  # type: ignore[operator]
        return list(answer) if isinstance(answer, openai.Stream) else answer

    return ask


def _ask_async(base: str) -> Ask:
    async def asked(path: str, options: dict[str, Any]) -> Any:
        async with openai.AsyncOpenAI(
            base_url=base, api_key="none", max_retries=0, _strict_response_validation=True
        ) as client:
            answer = await reduce(getattr, path.split("."), client)(**options)  # type: ignore[operator]
            return [event async for event in answer] if isinstance(answer, openai.AsyncStream) else answer

    return lambda path, **options: asyncio.run(asked(path, options))


ASKS = {"sync": _ask_sync, "async": _ask_async}


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[tuple[str, str, str], str]]:
    """What came out of each row, by endpoint, what and client; at the end it is the page, or is compared with it."""
    found: dict[tuple[str, str, str], str] = {}
    yield found
    if len(found) < len(ROWS) * len(ASKS):
        return  # only some of the rows were run
    page = HEAD + "".join(_line(row, found) for row in ROWS)
    if os.environ.get("RAYSCRIBE_WRITE_DOCS"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page, "docs/conformance.md is not what came out; see the head of this file"


def _line(row: Row, found: dict[tuple[str, str, str], str]) -> str:
    cells = [found[row.endpoint, row.what, client] for client in ASKS]
    return f"| {' | '.join([row.endpoint, row.what, *cells, row.note])} |\n"


@pytest.mark.parametrize("client", ASKS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.endpoint}-{row.what}".replace(" ", "_"))
def test_row(service: str, outcomes: dict[tuple[str, str, str], str], row: Row, client: str) -> None:
    outcomes[row.endpoint, row.what, client] = "FAILED"
    ask = ASKS[client](f"{service}/v1")
    if row.refused:
        with pytest.raises(row.refused) as caught:
            ask(row.call, **row.options)
        assert row.check(caught.value)
    else:
        assert row.check(ask(row.call, **row.options))
    outcomes[row.endpoint, row.what, client] = "refused" if row.refused else "pass"
