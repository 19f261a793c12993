"""Subtitles before they are written: what is shown from when to when, on which lines.

The rules are those of openai-whisper and whisperx: lines break between words; without a width and a count every segment
is a subtitle of its own; with both they flow on over segments, but not over pauses and changes of speaker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from serve_app.speakers import by_speaker
from serve_app.transcript import Segment, Transcript, Word, between
from serve_app.wire.formats.layout import Layout

LONG_PAUSE_S = 3.0


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle: seconds of the file, the words of each line, and who says them.

    `marked` is the word that is being said (its line and its place in it), where words are highlighted.
    """

    start: float
    end: float
    lines: tuple[tuple[str, ...], ...]
    speaker: str | None = None
    marked: tuple[int, int] | None = None
    between: str = " "


def cues(transcript: Transcript, layout: Layout) -> Iterator[Cue]:
    """Yield the subtitles of a transcript in the order of time."""
    segments = by_speaker(transcript.segments) if any(each.speaker for each in transcript.segments) else None
    for cue in _shaped(segments or transcript.segments, transcript.language, layout):
        yield cue if layout.speaker_labels else replace(cue, speaker=None)


def _shaped(segments: Sequence[Segment], language: str, layout: Layout) -> Iterator[Cue]:
    segments = [segment for segment in segments if segment.text.strip()]
    if not (layout.max_line_width or layout.max_words_per_line or layout.highlight_words):
        yield from (Cue(each.start, each.end, (tuple(each.text.split()),), each.speaker) for each in segments)
        return
    space = between(language)
    for shown in _flow(segments, layout, len(space)):
        cue = replace(_cue(shown), between=space)
        yield from _highlighted(cue, shown) if layout.highlight_words else (cue,)


@dataclass(slots=True)
class _Shown:
    """The words of one subtitle by lines, and the segment that it begins in."""

    segment: Segment
    lines: list[list[Word]]


def _flow(segments: Sequence[Segment], layout: Layout, space: int) -> Iterator[_Shown]:
    """Break segments into subtitles and lines."""
    flowing = layout.max_line_width is not None and layout.max_line_count is not None
    shown: _Shown | None = None
    last = 0.0
    for segment in segments:
        for words in _chunks(segment, layout):
            if shown and not (flowing and shown.segment.speaker == segment.speaker):
                yield shown
                shown = None
            for word in words:
                paused = flowing and word.start is not None and word.start - last > LONG_PAUSE_S
                if shown and (paused or not _taken(shown.lines, word, layout, space)):
                    yield shown
                    shown = None
                shown = shown or _Shown(segment, [[word]])
                last = last if word.start is None else word.start
    if shown:
        yield shown


def _taken(lines: list[list[Word]], word: Word, layout: Layout, space: int) -> bool:
    """Put a word on the last line, or on a new one, if there is room for it."""
    if _has_room(lines[-1], word, layout, space):
        lines[-1].append(word)
    elif layout.max_line_count is None or len(lines) < layout.max_line_count:
        lines.append([word])
    else:
        return False
    return True


def _chunks(segment: Segment, layout: Layout) -> Iterator[Sequence[Word]]:
    """Yield a segment's words, in groups where only so many may stand on a line."""
    words = iter(segment.words or [Word(text, None, None) for text in segment.text.split()])
    size = layout.max_words_per_line or 1 << 30
    while chunk := list(islice(words, size)):
        yield chunk


def _has_room(line: Sequence[Word], word: Word, layout: Layout, space: int) -> bool:
    width = sum(len(each.text) + space for each in line) + len(word.text)
    return layout.max_line_width is None or width <= layout.max_line_width


def _cue(shown: _Shown) -> Cue:
    words = [word for line in shown.lines for word in line]
    starts = [word.start for word in words if word.start is not None]
    ends = [word.end for word in words if word.end is not None]
    start, end = min(starts, default=shown.segment.start), max(ends, default=shown.segment.end)
    lines = tuple(tuple(word.text for word in line) for line in shown.lines)
    return Cue(start, end, lines, shown.segment.speaker)


def _highlighted(cue: Cue, shown: _Shown) -> Iterator[Cue]:
    """Show the subtitle once for each word that is said, marked, and unmarked in the pauses between."""
    last, marked = cue.start, False
    for row, line in enumerate(shown.lines):
        for place, word in enumerate(line):
            if word.start is None or word.end is None:
                continue
            if word.start > last:
                yield replace(cue, start=last, end=word.start)
            yield replace(cue, start=max(last, word.start), end=word.end, marked=(row, place))
            last, marked = word.end, True
    if not marked:
        yield cue
