"""Live audio over the real service, by the unmodified SDK."""

import base64
import json
from typing import Any

import numpy as np
import openai
import pytest
from websockets.sync.client import connect

from benchmarks.scoring import plain, word_error_rate
from serve_app.models.audio import decode
from tests.cluster.local.test_under_load import STAGES
from tests.cluster.replicas import replica_pid, until_idle

pytestmark = pytest.mark.cluster
RATE = 24_000


def appends(sample: Any, name: str) -> list[str]:
    """A file as base64 of 100 ms each, at 24 kHz, with a second of silence at its end."""
    once = decode(sample(name).path.read_bytes())
    at = np.arange(int(len(once) * 1.5)) / 1.5
    louder = np.concatenate([np.interp(at, np.arange(len(once)), once), np.zeros(RATE)])
    pcm = (louder * 32767).astype("<i2").tobytes()
    step = RATE // 10 * 2
    return [base64.b64encode(pcm[start : start + step]).decode() for start in range(0, len(pcm), step)]


def test_what_is_said_live_comes_back_in_order(client: openai.OpenAI, sample: Any) -> None:
    said = sample("three_speakers")
    started, told, texts = 0, 0, []
    with client.realtime.connect(model="fast", extra_query={"intent": "transcription"}) as live:
        assert live.recv().type == "session.created"
        turns = {"type": "server_vad", "silence_duration_ms": 300}
        live.session.update(session={"type": "transcription", "audio": {"input": {"turn_detection": turns}}})  # type: ignore[typeddict-item]
        for audio in appends(sample, "three_speakers"):
            live.input_audio_buffer.append(audio=audio)
        live.input_audio_buffer.clear()  # its answer comes after all utterances were cut
        cleared = False
        while not (cleared and told == started):
            event: Any = live.recv()
            started += event.type == "input_audio_buffer.committed"
            cleared = cleared or event.type == "input_audio_buffer.cleared"
            assert event.type != "error", event
            if event.type == "conversation.item.input_audio_transcription.completed":
                told += 1
                texts.append(event.transcript)
    assert started >= 3
    assert word_error_rate(plain(" ".join(said.words)), plain(" ".join(texts))) <= 0.15


def test_a_client_that_goes_leaves_no_work(service: str, sample: Any) -> None:
    with connect(f"{service.replace('http', 'ws')}/high/v1/realtime") as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        for audio in appends(sample, "three_speakers"):
            socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    for deployment in STAGES:
        until_idle(replica_pid("high", deployment), 30)
