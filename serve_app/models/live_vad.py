"""Speech in live audio, frame by frame: silero, which ships inside faster-whisper (no torch), with its state kept."""

from dataclasses import dataclass
from importlib.metadata import distribution
from typing import Any

import numpy as np

from serve_app.models.environment import go_offline
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

FRAME = 512
"""Samples of a frame: 32 ms."""
CONTEXT = 64
"""Samples of the frame before that the model hears again."""
HYSTERESIS = 0.15
"""Speech ends below the threshold by so much, as silero's own iterator has it."""
MIN_SPEECH = 3
"""Frames of speech on end that make a beginning: a click is none."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began at a sample of the stream."""

    at: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Speech ended at a sample of the stream; it was long silent after it, or `cut` since it grew too long."""

    at: int
    cut: bool = False


class LiveVad:
    """Tells where speech begins and ends in audio as it comes; blocking, some 0.2 ms a frame.

    `silence_ms` of silence end an utterance; one of `longest_s` is cut.
    """

    def __init__(self, threshold: float = 0.5, silence_ms: int = 500, longest_s: float = 30.0) -> None:
        self._session = _session()
        self._threshold = threshold
        self._silence = silence_ms * SAMPLE_RATE // 1000
        self._longest = int(longest_s * SAMPLE_RATE)
        self._h = self._c = np.zeros((1, 1, 128), np.float32)
        self._context: Audio = np.zeros(CONTEXT, np.float32)
        self._rest: Audio = np.zeros(0, np.float32)
        self._at = 0
        self._loud = 0
        self._quiet_since: int | None = None
        self._began: int | None = None

    @property
    def began(self) -> int | None:
        """The sample at which the speech that goes on began; None in silence."""
        return self._began

    def feed(self, samples: Audio) -> list[SpeechStarted | SpeechStopped]:
        """Take the next samples (mono, 16 kHz); return what they made certain, in order."""
        self._rest = np.concatenate([self._rest, samples])
        frames = len(self._rest) // FRAME
        if not frames:
            return []
        heard, self._rest = self._rest[: frames * FRAME], self._rest[frames * FRAME :]
        found: list[SpeechStarted | SpeechStopped] = []
        for probability in self._probabilities(heard.reshape(frames, FRAME)):
            self._at += FRAME
            found += self._step(probability)
        return found

    def end(self) -> None:
        """Let speech that goes on end here: what follows begins anew."""
        self._began, self._quiet_since, self._loud = None, None, 0

    def _probabilities(self, frames: Audio) -> list[float]:
        before = np.vstack([self._context[None], frames[:-1, -CONTEXT:]])
        self._context = frames[-1, -CONTEXT:]
        asked = {"input": np.hstack([before, frames]), "h": self._h, "c": self._c}
        told, self._h, self._c = self._session.run(None, asked)
        return [float(value) for value in np.ravel(told)]

    def _step(self, probability: float) -> list[SpeechStarted | SpeechStopped]:
        """Judge the frame that ends at `_at`."""
        if self._began is None:
            self._loud = self._loud + 1 if probability >= self._threshold else 0
            if self._loud < MIN_SPEECH:
                return []
            self._began, self._quiet_since = self._at - self._loud * FRAME, None
            return [SpeechStarted(self._began)]
        if probability >= self._threshold:
            self._quiet_since = None
        elif probability < self._threshold - HYSTERESIS and self._quiet_since is None:
            self._quiet_since = self._at - FRAME
        return self._ended()

    def _ended(self) -> list[SpeechStarted | SpeechStopped]:
        assert self._began is not None
        if self._quiet_since is not None and self._at - self._quiet_since >= self._silence:
            stopped = SpeechStopped(self._quiet_since)
        elif self._at - self._began >= self._longest:
            stopped = SpeechStopped(self._at, cut=True)
        else:
            return []
        self.end()
        return [stopped]


def _session() -> Any:
    """Load silero with faster-whisper's own options, but without importing it: no CTranslate2, no FFmpeg."""
    go_offline()
    import onnxruntime

    model = distribution("faster-whisper").locate_file("faster_whisper/assets/silero_vad_v6.onnx")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"], sess_options=options)
