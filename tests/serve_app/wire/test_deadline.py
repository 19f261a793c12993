"""A client's own deadline, on whole answers and on streams."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import pytest
from fakes import FakePresets, content, segment

from serve_app.config import LimitArgs
from serve_app.events import Event, Spoken
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.transcript import Transcript
from serve_app.wire.api import create_api

PATH = "/v1/audio/transcriptions"


class Endless(FakePresets):
    """Presets that tell one segment and are never done; `left` is set when nobody waits any more."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        async for _ in self.stream(preset, upload, options):
            pass
        raise AssertionError

    async def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        assert content(upload)
        try:
            yield Spoken((segment("Hello.", 0, 1),), "en")
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=create_api(Endless(), LimitArgs()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rayscribe") as client:
        yield client


async def post(client: httpx.AsyncClient, seconds: str, **fields: Any) -> httpx.Response:
    headers = {"X-Request-Timeout-Seconds": seconds}
    return await client.post(PATH, data={"model": "fast", **fields}, files={"file": b"sound"}, headers=headers)


async def test_an_answer_that_is_late_is_a_408_that_names_the_header(client: httpx.AsyncClient) -> None:
    answer = await post(client, "0.1")
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert "0.1 s of x-request-timeout-seconds" in answer.json()["error"]["message"]


async def test_a_stream_that_is_late_ends_with_an_error() -> None:
    presets = Endless()
    transport = httpx.ASGITransport(app=create_api(presets, LimitArgs()), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rayscribe") as client:
        answer = await post(client, "0.1", stream="true")
    assert answer.status_code == 200
    first, error, done = answer.text.split("\n\n")[:3]
    assert "Hello." in first
    assert "deadline_exceeded" in error
    assert done == "data: [DONE]"
    assert presets.left.is_set()


@pytest.mark.parametrize("seconds", ["soon", "1s"])
async def test_a_deadline_that_is_no_number_is_refused(client: httpx.AsyncClient, seconds: str) -> None:
    answer = await post(client, seconds)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-request-timeout-seconds")


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan"])
async def test_no_deadline_is_none(seconds: str) -> None:
    app = create_api(FakePresets(), LimitArgs())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://rayscribe") as client:
        assert (await post(client, seconds)).status_code == 200
