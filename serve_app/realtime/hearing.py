"""What a live session hears: samples brought to 16 kHz, kept as long as they may be needed, cut into utterances."""

import base64
import binascii
import wave
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.errors import BadRequest
from serve_app.models.live_vad import LiveVad, SpeechStarted, SpeechStopped
from serve_app.realtime.client_events import AudioInput
from serve_app.windows import SAMPLE_RATE

FULL_SCALE = np.float32(1 / 32768)
LONGEST_S = 30.0
"""A longer utterance is cut: Whisper hears no more at once."""
MOST_UNCOMMITTED_S = 15 * 60.0
"""Without turn detection, what may be sent before a commit."""

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Utterance:
    """Somebody's speech: samples `start` to `stop` of the session at 16 kHz, as a WAV file."""

    start: int
    stop: int
    file: bytes


Found = SpeechStarted | SpeechStopped | Utterance
NewVad = Callable[[float, int, float], LiveVad]


class Hearing:
    """Takes a session's audio as it comes; blocking, to be run in a thread, one call at a time."""

    def __init__(self, settings: AudioInput, new_vad: NewVad = LiveVad) -> None:
        self._resampler: Any = None
        self._new_vad = new_vad
        self._kept: Samples = np.zeros(0, np.int16)
        self._origin = self._began = 0
        self.configure(settings)

    @property
    def _stop(self) -> int:
        return self._origin + len(self._kept)

    def configure(self, settings: AudioInput) -> None:
        """Go on with other settings; what was sent and not committed is kept."""
        turns = settings.turn_detection
        self._turns = turns
        self._padding = turns.prefix_padding_ms * SAMPLE_RATE // 1000 if turns else 0
        self._vad = self._new_vad(turns.threshold, turns.silence_duration_ms, LONGEST_S) if turns else None
        self._vad_origin = self._stop
        self._rate = settings.format.rate
        self._resampler = None

    def feed(self, audio: str) -> list[Found]:
        """Take base64 of 16-bit samples; return what begins, ends and is to be transcribed. Raises BadRequest."""
        samples = self._resampled(_pcm(audio))
        self._kept = np.concatenate([self._kept, samples])
        if self._vad is None:
            if len(self._kept) > MOST_UNCOMMITTED_S * SAMPLE_RATE:
                raise BadRequest(
                    f"more than {MOST_UNCOMMITTED_S:g} s were sent without a commit; commit, or turn on turn_detection",
                    "audio",
                )
            return []
        found: list[Found] = []
        for event in self._vad.feed(samples * FULL_SCALE):
            found += self._on(event)
        self._forget()
        return found

    def commit(self) -> Utterance | None:
        """Make an utterance of what was sent and not committed; None if that is nothing."""
        if not len(self._kept):
            return None
        utterance = self._cut(self._origin, self._stop)
        self.clear()
        return utterance

    def clear(self) -> None:
        """Forget what was sent and not committed."""
        self._origin, self._kept = self._stop, np.zeros(0, np.int16)
        if self._vad:
            self._vad.end()

    def _on(self, event: SpeechStarted | SpeechStopped) -> list[Found]:
        at = event.at + self._vad_origin
        if isinstance(event, SpeechStarted):
            self._began = max(self._origin, at - self._padding)
            return [SpeechStarted(at)]
        stop = at if event.cut else min(at + self._padding, self._stop)
        utterance = self._cut(self._began, stop)
        self._drop_before(stop)
        return [SpeechStopped(at, event.cut), utterance]

    def _forget(self) -> None:
        """In silence only what may be a beginning's padding is kept."""
        if self._vad and self._vad.began is None:
            self._drop_before(self._stop - self._padding - SAMPLE_RATE // 2)

    def _drop_before(self, at: int) -> None:
        if at > self._origin:
            self._kept, self._origin = self._kept[at - self._origin :], at

    def _cut(self, start: int, stop: int) -> Utterance:
        return Utterance(start, stop, _wav(self._kept[start - self._origin : stop - self._origin]))

    def _resampled(self, samples: Samples) -> Samples:
        """Bring samples to 16 kHz; what the resampler holds back comes with the next ones."""
        if self._rate == SAMPLE_RATE:
            return samples
        import av

        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        blocks = [block.to_ndarray()[0] for block in self._resampler.resample(frame)]
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)


def _pcm(audio: str) -> Samples:
    try:
        data = base64.b64decode(audio, validate=True)
    except binascii.Error as error:
        raise BadRequest("'audio' is no base64", "audio") from error
    if len(data) % 2 or not data:
        raise BadRequest(f"'audio' is {len(data)} bytes, which are no 16-bit samples; send whole ones", "audio")
    return np.frombuffer(data, "<i2")


def _wav(samples: Samples) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(SAMPLE_RATE)
        written.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
