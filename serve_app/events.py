"""What a preset tells of a file while it is in work, in this order: progress and spoken segments, at last the end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from serve_app.transcript import Segment, Transcript, between


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on a file is: what was found in it so far, and what of that is done.

    `heard_s` are seconds of the file that were decoded, `windows` those found in them, `blocks` what diarization gets.
    Once `all_heard`, no more will be found.
    """

    heard_s: float = 0.0
    windows: int = 0
    transcribed: int = 0
    aligned: int = 0
    blocks: int = 0
    diarized: int = 0
    all_heard: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """Finished segments that follow all those told before; speakers only where each channel is one."""

    segments: tuple[Segment, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Done:
    """The end: all of it, with speakers if they were asked for."""

    transcript: Transcript


Event = Progress | Spoken | Done


class Deltas:
    """The texts of spoken segments as they follow each other: put together they are the whole text."""

    def __init__(self) -> None:
        self._begun = False

    def of(self, event: Spoken) -> Iterator[tuple[str, Segment]]:
        """Yield what each segment adds to the text; one without text adds nothing."""
        for segment in event.segments:
            if text := segment.text.strip():
                yield (between(event.language) if self._begun else "") + text, segment
                self._begun = True


Told = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Tell nobody."""


class Tally:
    """Counts what is found and done of one file, and tells each change."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._now = Progress()

    def one(self, name: str) -> None:
        """Count one window or block."""
        self._tell(replace(self._now, **{name: getattr(self._now, name) + 1}))

    def heard(self, seconds: float, *, all_heard: bool = False) -> None:
        """Say how far the file was heard."""
        self._tell(replace(self._now, heard_s=max(seconds, self._now.heard_s), all_heard=all_heard))

    def _tell(self, now: Progress) -> None:
        self._now = now
        self._told(now)
