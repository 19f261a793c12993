"""What the aligner is asked, and how windows share a forward pass; no model library here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from serve_app.stages import Audio, WindowText
from serve_app.windows import Window

LONGEST_TO_SHORTEST = 1.25
"""Windows of one bucket differ in length by no more than this: at most a fifth of what is computed is padding."""


@dataclass(frozen=True, slots=True)
class Placing:
    """One window's work for the aligner: its audio, where it lies in the file, and its text."""

    clip: Audio
    window: Window
    text: WindowText


@dataclass(frozen=True, slots=True)
class AlignOptions:
    """How words are placed; windows with equal options share a batch.

    `chars`: with the times of characters. `interpolate_method` is whisperx's: how what has no letter to be heard by
    gets its times from its neighbours; with `ignore` it gets none.
    """

    chars: bool = False
    interpolate_method: Literal["nearest", "linear", "ignore"] = "nearest"


def buckets(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Return places of clips in groups of at most `size` of similar length, longest first."""
    bucket: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if bucket and (len(bucket) == size or lengths[bucket[0]] > LONGEST_TO_SHORTEST * lengths[place]):
            yield bucket
            bucket = []
        bucket.append(place)
    if bucket:
        yield bucket
