"""The presets' pages of facts."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fakes import FakePresets

from serve_app.config import LimitArgs
from serve_app.facts import ModelFacts, PresetFacts, StageFacts
from serve_app.presets import PresetStatus
from serve_app.wire.api import create_api

WHISPER = ModelFacts("whisper-tiny", "v1", "abc", "whisper-ct2", "MIT", ("en", "de"))
FACTS = PresetFacts({"transcription": StageFacts("cpu", (WHISPER,))}, {"alignment": "high"}, 0.123456, 7)
READY = PresetStatus("ready", replicas={"Pipeline": 1, "Transcription": 2})
STATES = {"fast": READY, "premium": PresetStatus("asleep")}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_api(FakePresets(states=STATES, made_of={"fast": FACTS}), LimitArgs())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://rayscribe") as client:
        yield client


async def test_a_ready_preset_tells_what_it_is_made_of(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/presets/fast")).json() == {
        "id": "fast",
        "object": "preset",
        "state": "ready",
        "message": "",
        "replicas": {"Pipeline": 1, "Transcription": 2},
        "stages": {
            "transcription": {
                "device": "cpu",
                "models": [
                    {
                        "name": "whisper-tiny",
                        "revision": "v1",
                        "digest": "abc",
                        "kind": "whisper-ct2",
                        "licence": "MIT",
                        "languages": ["en", "de"],
                    }
                ],
            }
        },
        "borrowed": {"alignment": "high"},
        "languages": ["de", "en"],
        "real_time_factor": 0.1235,
        "files": 7,
    }


async def test_one_that_sleeps_is_not_woken_and_says_so(client: httpx.AsyncClient) -> None:
    pages = (await client.get("/v1/presets")).json()
    assert [page["id"] for page in pages["data"]] == ["fast", "premium"]
    asleep = {"id": "premium", "object": "preset", "state": "asleep", "message": "", "replicas": {}}
    assert pages["data"][1] == asleep


async def test_an_unknown_preset_is_told_what_there_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/presets/fats")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "name")
    assert "did you mean 'fast'?" in answer.json()["error"]["message"]
