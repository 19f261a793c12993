"""What the pipeline asks of its three stages, and what they answer; the pipeline knows no more of them than this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.options import DecodeOptions, SpeakerOptions
from serve_app.transcript import Segment, SpeakerTurn, Word
from serve_app.windows import SAMPLE_RATE, Window

Audio = NDArray[np.float32]
"""Mono samples at 16 kHz in -1…1, shape (samples,); read-only where it comes from the object store."""


@dataclass(frozen=True, slots=True)
class WindowText:
    """What was decoded from one window.

    `token_ends[i]` is the length of the text after token i, so that the tokens of any part of the text can be found;
    `token_logprobs[i]` is token i's log-probability among all text tokens, where asked for (as whisper counts a word's
    probability: the end of the text and special tokens do not compete, so it is not a part of `avg_logprob`).
    `suspect`: no temperature passed the thresholds, or a loop was cut, and `reason` says which. `queue_s` is how long
    the window waited for its batch, `model_s` how long the batch took; both are sums over all temperatures tried.
    """

    text: str
    language: str
    tokens: tuple[int, ...] = ()
    token_ends: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    queue_s: float = 0.0
    model_s: float = 0.0
    token_logprobs: tuple[float, ...] = ()
    suspect: bool = False
    reason: str = ""

    def segment(
        self, window: Window, start: float, end: float, text: str, tokens: tuple[int, ...], words: tuple[Word, ...] = ()
    ) -> Segment:
        """Return a part of the text as a segment at seconds of the file, with the figures of the whole window."""
        return Segment(
            start=start,
            end=end,
            text=text,
            words=words,
            seek=window.start * 100 // SAMPLE_RATE,
            tokens=tokens,
            temperature=self.temperature,
            avg_logprob=self.avg_logprob,
            compression_ratio=self.compression_ratio,
            no_speech_prob=self.no_speech_prob,
        )


class Stages(Protocol):
    """The stages of one preset. `Shared` audio is whatever `share` returned: an array, or a reference to one."""

    has_alignment: bool
    has_diarization: bool

    def share(self, audio: Audio) -> object:
        """Put the audio where every stage can read it."""

    async def transcribe(self, shared: object, window: Window, options: DecodeOptions) -> WindowText:
        """Decode one window."""

    async def align(self, shared: object, window: Window, text: WindowText) -> Sequence[Segment] | None:
        """Place a window's words in time (seconds of the file); None when the language has no aligner."""

    async def diarize(self, shared: object, options: SpeakerOptions) -> Sequence[SpeakerTurn]:
        """Find who speaks when, over the whole file."""
