"""What a transcription back end is: a class that is given a local snapshot, and decodes windows of at most 30 s."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from serve_app.options import DecodeOptions
from serve_app.stages import Audio, WindowText

if TYPE_CHECKING:
    from serve_app.config import TranscriptionArgs


class Transcriber(Protocol):
    """A loaded model. Two threads may call it at once: one that cannot decode two batches at once takes a lock.

    `batch_size`: windows that it wants to be given together at most. `languages`: the codes that it hears.
    """

    batch_size: int

    @property
    def languages(self) -> Sequence[str]:
        """The codes of the languages that it hears."""

    def transcribe(
        self, clips: Sequence[Audio], options: DecodeOptions, temperature: float | None = None
    ) -> list[WindowText]:
        """Decode clips of equal options, at one temperature (None: the first of the options'); one text for each clip.

        What of the options it cannot honour it refuses: raises `UnsupportedOption`. Without a language, each clip is
        decoded in the one that is heard in it.
        """

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        """Return for each clip the probability of each language; they sum to 1."""

    def warm_up(self) -> None:
        """Run once on something short, so that the first request pays no first-time cost."""


class Backend(Protocol):
    """The class of a back end, as its entry point names it. Its module imports no model library by itself.

    `kinds`: the kinds of snapshots that it reads. `compute_types`: the config's that it takes; empty: all.
    `libraries`: distributions whose versions a measured batch size holds for; the first one's module is imported while
    the snapshot is being fetched.
    """

    kinds: tuple[str, ...]
    compute_types: frozenset[str]
    libraries: tuple[str, ...]

    def __call__(self, path: Path, args: "TranscriptionArgs", languages: Sequence[str], threads: int) -> Transcriber:
        """Load a snapshot. `languages` are those of its manifest: none given means all of the model's."""
