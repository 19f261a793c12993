"""Windows: stretches of speech of at most 30 s, cut at silence; the unit of scheduling, batching and retry."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SAMPLE_RATE = 16_000
"""Samples per second of all audio past decoding."""


@dataclass(frozen=True, slots=True)
class Window:
    """Samples `start` to `stop` (exclusive) of the file, at 16 kHz."""

    start: int
    stop: int

    @property
    def start_s(self) -> float:
        """Seconds from the start of the file."""
        return self.start / SAMPLE_RATE

    @property
    def stop_s(self) -> float:
        """Seconds from the start of the file."""
        return self.stop / SAMPLE_RATE


def pack(speech: Iterable[Window], longest_s: float, longest_pause_s: float = float("inf")) -> Iterator[Window]:
    """Join neighbouring speech into windows of at most `longest_s`; a longer stretch is cut in equal parts.

    The silence between two joined stretches stays inside the window, so that offsets remain those of the file
    (whisperx's `merge_chunks` does the same). A pause of more than `longest_pause_s` is never inside a window.
    """
    longest = int(longest_s * SAMPLE_RATE)
    open_window: Window | None = None
    for stretch in (part for whole in speech for part in _cut(whole, longest)):
        if open_window and _joins(open_window, stretch, longest, longest_pause_s):
            open_window = Window(open_window.start, stretch.stop)
            continue
        if open_window:
            yield open_window
        open_window = stretch
    if open_window:
        yield open_window


def _joins(window: Window, stretch: Window, longest: int, longest_pause_s: float) -> bool:
    fits = stretch.stop - window.start <= longest
    return fits and stretch.start - window.stop <= longest_pause_s * SAMPLE_RATE


def _cut(stretch: Window, longest: int) -> Iterator[Window]:
    length = stretch.stop - stretch.start
    parts = max(1, -(-length // longest))
    for part in range(parts):
        yield Window(stretch.start + length * part // parts, stretch.start + length * (part + 1) // parts)
