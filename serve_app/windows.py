"""Windows: stretches of speech of at most 30 s, cut at silence; the unit of scheduling, batching and retry."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from serve_app.errors import BadRequest

SAMPLE_RATE = 16_000
"""Samples per second of all audio past decoding."""

ENDLESS = 1 << 62
"""A sample that no file reaches: where a stretch stops that runs to the end of its file."""

Clip = tuple[float, float | None]
"""Start and end in seconds of the file; None: to its end."""


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
    """Join neighbouring speech into windows, as `Packer` does, when all of it is known."""
    packer = Packer(longest_s, longest_pause_s)
    for stretch in speech:
        yield from packer.add(stretch)
    yield from packer.close()


class Packer:
    """Joins speech into windows of at most `longest_s`, as it comes; a longer stretch is cut in equal parts.

    The silence between two joined stretches stays inside the window, so that offsets remain those of the file
    (whisperx's `merge_chunks` does the same). A pause of more than `longest_pause_s` is never inside a window.
    """

    def __init__(self, longest_s: float, longest_pause_s: float = float("inf")) -> None:
        self._longest = int(longest_s * SAMPLE_RATE)
        self._pause = longest_pause_s * SAMPLE_RATE
        self.open: Window | None = None
        """The window that may still grow."""

    def add(self, stretch: Window) -> Iterator[Window]:
        """Take the next stretch of speech; return the windows that it closed."""
        for part in _cut(stretch, self._longest):
            if self.open and self._joins(self.open, part):
                self.open = Window(self.open.start, part.stop)
                continue
            yield from self.close()
            self.open = part

    def settle(self, horizon: int) -> Iterator[Window]:
        """Return the open window if no speech that begins at sample `horizon` or later could join it."""
        if self.open and not self._joins(self.open, Window(horizon, horizon + 1)):
            yield from self.close()

    def close(self) -> Iterator[Window]:
        """Return the open window, if there is one: what follows begins another."""
        if self.open:
            yield self.open
        self.open = None

    def _joins(self, window: Window, stretch: Window) -> bool:
        return stretch.stop - window.start <= self._longest and stretch.start - window.stop <= self._pause


def _cut(stretch: Window, longest: int) -> Iterator[Window]:
    length = stretch.stop - stretch.start
    parts = max(1, -(-length // longest))
    for part in range(parts):
        yield Window(stretch.start + length * part // parts, stretch.start + length * (part + 1) // parts)


def stretches(clips: Sequence[Clip]) -> list[Window]:
    """Return the parts of a file that are to be heard, in the order of time; without clips all of it.

    Raises `BadRequest` for clips that overlap, end before they begin, or begin before the file.
    """
    found = sorted((_stretch(*clip) for clip in clips), key=lambda stretch: stretch.start)
    for before, after in pairwise(found):
        if after.start < before.stop:
            ends = "to the end" if before.stop == ENDLESS else f"to {before.stop_s:g} s"
            raise _bad_clips(f"the clip from {before.start_s:g} s {ends} overlaps the one from {after.start_s:g} s")
    return found or [Window(0, ENDLESS)]


def _stretch(start_s: float, stop_s: float | None) -> Window:
    stop_s = float("inf") if stop_s is None else stop_s
    if not 0 <= start_s < float("inf"):
        raise _bad_clips(f"a clip cannot begin at {start_s:g} s")
    if not stop_s > start_s:
        raise _bad_clips(f"the clip from {start_s:g} s ends at {stop_s:g} s, before it begins")
    stop = ENDLESS if stop_s * SAMPLE_RATE >= ENDLESS else round(stop_s * SAMPLE_RATE)
    return Window(min(round(start_s * SAMPLE_RATE), ENDLESS), stop)


def _bad_clips(problem: str) -> BadRequest:
    mend = "give start and end in seconds, 0 <= start < end, without overlap; only the last end may be left out"
    return BadRequest(f"clip_timestamps: {problem}; {mend}", "clip_timestamps")
