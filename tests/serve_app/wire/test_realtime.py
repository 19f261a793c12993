"""The websocket: what stands around a session."""

import base64
from typing import Any

import numpy as np
import pytest
from fakes import FakePresets, segment
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from serve_app.config import LimitArgs
from serve_app.transcript import Transcript
from serve_app.wire.api import create_api

AUDIO = base64.b64encode(np.zeros(2400, np.int16).tobytes()).decode()
UPDATE = {
    "type": "session.update",
    "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}},
}


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=Transcript("en", 1.0, (segment("Hello there.", 0, 1),)))


def connect(presets: FakePresets, query: str = "?model=fast", **limits: Any) -> Any:
    return TestClient(create_api(presets, LimitArgs(**limits))).websocket_connect(f"/v1/realtime{query}")


def test_what_is_sent_comes_back_as_text(presets: FakePresets) -> None:
    with connect(presets, "?model=fast&intent=transcription") as socket:
        assert socket.receive_json()["type"] == "session.created"
        for event in (
            UPDATE,
            {"type": "input_audio_buffer.append", "audio": AUDIO},
            {"type": "input_audio_buffer.commit"},
        ):
            socket.send_json(event)
        told = [socket.receive_json() for _ in range(5)]
    assert told[0]["type"] == "session.updated"
    assert told[-1]["transcript"] == "Hello there."
    assert presets.asked[0][1].startswith(b"RIFF")


def test_an_unknown_model_ends_the_session_with_its_reason(presets: FakePresets) -> None:
    with connect(presets, "?model=fats") as socket:
        told = socket.receive_json()
        assert (told["type"], told["error"]["code"]) == ("error", "model_not_found")
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1008


def test_without_a_model_the_session_says_which_before_audio_comes(presets: FakePresets) -> None:
    with connect(presets, "?intent=transcription") as socket:
        assert socket.receive_json()["type"] == "session.created"
        socket.send_json({"type": "input_audio_buffer.append", "audio": AUDIO})
        assert socket.receive_json()["error"]["param"] == "model"
        transcription = {"transcription": {"model": "fast"}}
        socket.send_json({"type": "session.update", "session": {"audio": {"input": transcription}}})
        assert socket.receive_json()["session"]["audio"]["input"]["transcription"]["model"] == "fast"


def test_what_is_no_json_is_told(presets: FakePresets) -> None:
    with connect(presets) as socket:
        socket.receive_json()
        socket.send_text("{")
        assert "no JSON" in socket.receive_json()["error"]["message"]


@pytest.mark.parametrize(("limit", "said"), [("live_idle_s", "nothing came"), ("live_s", "lasts at most")])
def test_a_session_that_is_too_long_or_idle_ends_with_its_reason(presets: FakePresets, limit: str, said: str) -> None:
    with connect(presets, **{limit: 0.05}) as socket:
        assert socket.receive_json()["type"] == "session.created"
        assert said in socket.receive_json()["error"]["message"]
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
