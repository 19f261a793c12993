"""Ways in, on the running service: a call with one speaker per channel, piped in as a bare body without a length."""

import wave
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest

from benchmarks.scoring import plain, word_error_rate
from serve_app.models.audio import decode
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

pytestmark = pytest.mark.cluster


def stereo(left: Audio, right: Audio) -> bytes:
    """A wav file with a recording in each channel; the shorter one is followed by silence."""
    longest = max(len(left), len(right))
    call = np.stack([np.pad(each, (0, longest - len(each))) for each in (left, right)], axis=1)
    with wave.open(file := BytesIO(), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(np.round(call * 32767).astype("<i2").tobytes())
    return file.getvalue()


def test_a_piped_call_has_a_speaker_for_each_channel(service: str, sample: Any) -> None:
    """By a preset that tells no speakers apart."""
    said = [sample("ten_seconds"), sample("one_sentence")]
    body = stereo(*(decode(each.path.read_bytes()) for each in said))

    def piped() -> Iterator[bytes]:
        yield from (body[at : at + 65_536] for at in range(0, len(body), 65_536))

    query = {"model": "fast", "channels": "separate", "response_format": "diarized_json"}
    answer = httpx.post(f"{service}/v1/audio/transcriptions", params=query, content=piped(), timeout=60)
    assert answer.status_code == 200, answer.text
    segments = answer.json()["segments"]
    assert [each["start"] for each in segments] == sorted(each["start"] for each in segments)
    for speaker, sample_said in zip("AB", said, strict=True):
        heard = " ".join(each["text"] for each in segments if each["speaker"] == speaker)
        assert word_error_rate(plain(" ".join(sample_said.words)), plain(heard)) <= 0.15
