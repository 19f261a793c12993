"""A file sent along or named by `url`: one of them, read within the limits, and the same to the preset."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fakes import FakePresets, segment
from loopback_web import Web, ok, serving

from serve_app.config import LimitArgs
from serve_app.errors import NotAudio
from serve_app.transcript import Transcript
from serve_app.wire.api import create_api

PATH = "/v1/audio/transcriptions"


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=Transcript("en", 4.2, (segment("Hello there.", 0, 2),)))


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving(Web({"/a.wav": ok(b"sound"), "/empty": ok(b"")})) as web:
        yield web


@pytest.fixture
async def client(presets: FakePresets, web: Web) -> AsyncIterator[httpx.AsyncClient]:
    limits = LimitArgs.model_validate(
        {"max_upload_mb": 0.5, "fetch": {"allow": [web.url], "allow_private": ["localhost"]}}
    )
    transport = httpx.ASGITransport(app=create_api(presets, limits), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://rayscribe") as client:
        yield client


def is_refused(answer: httpx.Response, param: str, code: str, status: int = 400) -> bool:
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code), answer.text
    return True


@pytest.mark.parametrize("kind", ["json", "data", "files"])
async def test_a_file_is_heard_by_url_in_every_kind_of_form(
    client: httpx.AsyncClient, presets: FakePresets, web: Web, kind: str
) -> None:
    fields: dict[str, Any] = {"model": "fast", "url": f"{web.url}/a.wav"}
    if kind == "files":
        fields = {name: (None, value) for name, value in fields.items()}
    answer = await client.post(PATH, **{kind: fields})
    assert (answer.status_code, answer.json()["text"]) == (200, "Hello there.")
    assert [heard for _, heard, _ in presets.asked] == [b"sound"]


async def test_a_stream_of_a_file_by_url(client: httpx.AsyncClient, web: Web) -> None:
    answer = await client.post(PATH, json={"model": "fast", "url": f"{web.url}/a.wav", "stream": True})
    frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert [frame["type"] for frame in frames] == ["transcript.text.delta", "transcript.text.done"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_goes_wrong_names_the_url(
    client: httpx.AsyncClient, presets: FakePresets, web: Web, stream: bool
) -> None:
    async def post(path: str, **fields: Any) -> httpx.Response:
        return await client.post(PATH, json={"model": "fast", "url": web.url + path, "stream": stream, **fields})

    web.answers |= {"/large": ok(bytes(600_000)), "/none": ok(b"", status="404 Not Found")}
    assert is_refused(await post("/empty"), "url", "empty_audio")
    assert is_refused(await post("/large"), "url", "file_too_large", 413)
    assert is_refused(await post("/none"), "url", "url_unreachable")
    assert is_refused(await post("/a.wav", url="https://other.example/a"), "url", "url_not_allowed")
    assert is_refused(await post("/a.wav", url="a.wav"), "url", "invalid_url")
    presets.failure = NotAudio("no audio", "file")
    assert is_refused(await post("/a.wav"), "url", "invalid_audio")


async def test_bad_options_are_refused_before_anything_is_read(client: httpx.AsyncClient, web: Web) -> None:
    url = f"{web.url}/a.wav"
    assert is_refused(await client.post(PATH, json={"model": "none", "url": url}), "model", "model_not_found", 404)
    words = {"model": "fast", "url": url, "timestamp_granularities": ["word"]}
    assert is_refused(await client.post(PATH, json=words), "timestamp_granularities", "invalid_request")
    assert web.asked == []


async def test_there_is_one_file(client: httpx.AsyncClient, web: Web) -> None:
    fields = {"model": "fast", "url": f"{web.url}/a.wav"}
    assert is_refused(await client.post(PATH, data=fields, files={"file": b"x"}), "url", "invalid_request")
    assert is_refused(await client.post(PATH, data={"model": "fast"}), "file", "invalid_request")
    assert web.asked == []


async def test_without_a_word_in_the_config_nothing_is_read(presets: FakePresets, web: Web) -> None:
    transport = httpx.ASGITransport(app=create_api(presets, LimitArgs()))
    async with httpx.AsyncClient(transport=transport, base_url="http://rayscribe") as client:
        answer = await client.post(PATH, json={"model": "fast", "url": f"{web.url}/a.wav"})
    assert is_refused(answer, "url", "url_not_allowed")
    assert "limits.fetch.allow" in answer.json()["error"]["message"]
    assert web.asked == []
