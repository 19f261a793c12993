"""What a live session hears: resampled without seams, kept as long as needed, cut with padding."""

import base64
import io
import wave
from typing import Any

import numpy as np
import pytest

from serve_app.errors import BadRequest
from serve_app.models.live_vad import SpeechStarted, SpeechStopped
from serve_app.realtime.client_events import AudioInput
from serve_app.realtime.hearing import MOST_UNCOMMITTED_S, Hearing, Utterance
from serve_app.windows import SAMPLE_RATE


class Planned:
    """A VAD that tells of speech from second 1 to second 2, as soon as it has heard so far."""

    def __init__(self, threshold: float, silence_ms: int, longest_s: float) -> None:
        self.began: int | None = None
        self._at = 0
        self.plan: list[Any] = [SpeechStarted(SAMPLE_RATE), SpeechStopped(2 * SAMPLE_RATE)]

    def feed(self, samples: Any) -> list[Any]:
        self._at += len(samples)
        found = []
        while self.plan and self.plan[0].at < self._at:
            found.append(self.plan.pop(0))
            self.began = found[-1].at if isinstance(found[-1], SpeechStarted) else None
        return found

    def end(self) -> None:
        self.began = None


def settings(**options: Any) -> AudioInput:
    return AudioInput.model_validate(options)


def sent(samples: Any) -> str:
    return base64.b64encode(np.asarray(samples, "<i2").tobytes()).decode()


def samples_of(utterance: Utterance) -> Any:
    with wave.open(io.BytesIO(utterance.file)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


PLAIN = settings(format={"rate": 16_000}, turn_detection={"prefix_padding_ms": 250})
RAMP = np.arange(3 * SAMPLE_RATE) // 2 % 30_000


@pytest.mark.parametrize("size", [800, 1600, 7777, 3 * SAMPLE_RATE])
def test_an_utterance_is_what_was_said_with_its_padding(size: int) -> None:
    hearing = Hearing(PLAIN, Planned)  # type: ignore[arg-type]  # it has the same methods
    found = [it for at in range(0, len(RAMP), size) for it in hearing.feed(sent(RAMP[at : at + size]))]
    (utterance,) = [it for it in found if isinstance(it, Utterance)]
    padding = SAMPLE_RATE // 4
    assert utterance.start == SAMPLE_RATE - padding
    assert 2 * SAMPLE_RATE < utterance.stop <= 2 * SAMPLE_RATE + padding
    assert (samples_of(utterance) == RAMP[utterance.start : utterance.stop]).all()


def test_silence_is_forgotten() -> None:
    hearing = Hearing(PLAIN, Planned)  # type: ignore[arg-type]
    vad: Any = hearing._vad
    vad.plan.clear()  # nobody speaks
    for _ in range(20):
        hearing.feed(sent(np.zeros(SAMPLE_RATE)))
    assert len(hearing._kept) <= SAMPLE_RATE


def test_without_turns_a_commit_makes_the_utterance() -> None:
    hearing = Hearing(settings(format={"rate": 16_000}, turn_detection=None))
    assert hearing.feed(sent(RAMP[:1000])) == hearing.feed(sent(RAMP[1000:2000])) == []
    utterance = hearing.commit()
    assert utterance
    assert (samples_of(utterance) == RAMP[:2000]).all()
    assert hearing.commit() is None
    hearing.feed(sent(RAMP[:10]))
    hearing.clear()
    assert hearing.commit() is None


def test_what_is_never_committed_is_refused_at_last() -> None:
    hearing = Hearing(settings(format={"rate": 16_000}, turn_detection=None))
    minute = sent(np.zeros(60 * SAMPLE_RATE))
    for _ in range(int(MOST_UNCOMMITTED_S // 60)):
        hearing.feed(minute)
    with pytest.raises(BadRequest, match="without a commit"):
        hearing.feed(minute)


def test_24_khz_is_brought_to_16_without_seams() -> None:
    tone = (10_000 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000)).astype(np.int16)
    hearing = Hearing(settings(turn_detection=None))
    for at in range(0, len(tone), 2400):
        hearing.feed(sent(tone[at : at + 2400]))
    utterance = hearing.commit()
    assert utterance
    heard = samples_of(utterance).astype(float)
    assert abs(len(heard) - SAMPLE_RATE) < 100
    expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / SAMPLE_RATE)
    middle = slice(500, len(heard) - 500)
    assert np.abs(heard - expected)[middle].max() < 300


@pytest.mark.parametrize(
    ("audio", "said"), [("?!", "no base64"), (base64.b64encode(b"odd").decode(), "16-bit"), ("", "0 bytes")]
)
def test_what_is_no_audio_is_refused(audio: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        Hearing(settings(turn_detection=None)).feed(audio)
    assert caught.value.param == "audio"
