"""The unmodified SDK over fake presets."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from fakes import FakePresets

from serve_app.config import LimitArgs
from serve_app.wire.api import create_api


@pytest.fixture
async def sdk(presets: FakePresets) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, which validates strictly, over the module's `presets`."""
    transport = httpx.ASGITransport(app=create_api(presets, LimitArgs()), raise_app_exceptions=False)
    async with openai.AsyncOpenAI(
        base_url="http://rayscribe/v1",
        api_key="unused",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
        _strict_response_validation=True,
    ) as client:
        yield client
