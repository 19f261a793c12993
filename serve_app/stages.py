"""What the pipeline asks of its three stages, and what they answer; the pipeline knows no more of them than this."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serve_app.options import AlignOptions, DecodeOptions, SpeakerOptions
from serve_app.transcript import Segment, Word
from serve_app.windows import SAMPLE_RATE, Window

if TYPE_CHECKING:
    from serve_app.blocks import Block
    from serve_app.voices import Speakers, Voices

Audio = NDArray[np.float32]
"""Mono samples at 16 kHz in -1…1, shape (samples,); read-only where it comes from the object store."""
Stage = Literal["transcription", "alignment", "diarization"]
IDLE = 0.1
"""Of a batch's time: a window that waited less found its replica idle, or as good as."""


@dataclass(frozen=True, slots=True)
class WindowText:
    """What was decoded from one window.

    `token_ends[i]` is the length of the text after token i, so that the tokens of any part of the text can be found;
    `token_logprobs[i]` is token i's log-probability among all text tokens, where asked for (as whisper counts a word's
    probability: the end of the text and special tokens do not compete, so it is not a part of `avg_logprob`).
    `suspect`: no temperature passed the thresholds, or a loop was cut, and `reason` says which. `queue_s` is how long
    the window waited for its batch, `model_s` how long the batch took; both are sums over all temperatures tried.
    `batch_full`: no other window had found room in the (last) batch.
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
    batch_full: bool = False
    token_logprobs: tuple[float, ...] = ()
    suspect: bool = False
    reason: str = ""

    def run_in(self, queue_s: float, model_s: float, *, full: bool) -> "WindowText":
        """Return it with how it was run: what it waited, what its batch took (seconds), whether that was full."""
        return replace(self, queue_s=queue_s, model_s=model_s, batch_full=full)

    @property
    def hungry(self) -> bool:
        """Whether its model could have done with more: it waited for no batch, or its batch had room."""
        return not self.batch_full or self.queue_s < IDLE * self.model_s

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
            suspect=self.suspect,
        )


class Stages(Protocol):
    """The stages of one preset. `shared` audio is whatever `share` returned: an array, or a reference to one.

    `owner` tells requests apart: a stage lets them take turns.
    """

    has_alignment: bool
    has_diarization: bool

    def replicas(self, stage: Stage) -> int:
        """Return how many replicas a stage has just now; 0 while nobody knows."""

    def share(self, samples: Audio) -> object:
        """Put the samples of a window or a block where every stage can read them."""

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        """Tell the probability of each language in one window."""

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        """Decode one window."""

    async def align(
        self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> Sequence[Segment] | None:
        """Place a window's words in time (seconds of the file); None when the language has no aligner."""

    async def embed(self, shared: object, owner: str) -> tuple[float, ...]:
        """Return the voice of the one person who talks in a reference clip."""

    async def hear(self, shared: object, block: "Block", owner: str) -> "Voices":
        """Find who is heard in the chunks of one block."""

    async def speakers(self, voices: "Sequence[Voices]", options: SpeakerOptions, owner: str) -> "Speakers":
        """Tell who speaks when in the whole file, from what was heard in all of its blocks."""
