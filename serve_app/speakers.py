"""Who said which word: speaker turns laid over words."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from serve_app.transcript import Segment, SpeakerTurn, Word


class Turns:
    """Speaker turns, asked which speaker is heard most within a stretch of time."""

    def __init__(self, turns: Iterable[SpeakerTurn]) -> None:
        self._turns = sorted(turns, key=lambda turn: turn.start)
        self._starts = [turn.start for turn in self._turns]
        self._longest = max((turn.end - turn.start for turn in self._turns), default=0.0)

    def speaker(self, start: float, end: float) -> str | None:
        """Return the speaker with the longest overlap; without any, the nearest in time; None without turns."""
        first = bisect_left(self._starts, start - self._longest)
        heard: defaultdict[str, float] = defaultdict(float)
        for turn in self._turns[first : bisect_left(self._starts, end)]:
            overlap = min(turn.end, end) - max(turn.start, start)
            if overlap > 0:
                heard[turn.speaker] += overlap
        return max(heard, key=lambda name: heard[name]) if heard else self._nearest(start, end)

    def _nearest(self, start: float, end: float) -> str | None:
        nearest = min(self._turns, key=lambda turn: max(turn.start - end, start - turn.end), default=None)
        return nearest.speaker if nearest else None


def letters(turns: Sequence[SpeakerTurn]) -> tuple[SpeakerTurn, ...]:
    """Rename speakers to A, B, … Z, AA, … in the order in which they are first heard."""
    names: dict[str, str] = {}
    ordered = sorted(turns, key=lambda turn: turn.start)
    for turn in ordered:
        names.setdefault(turn.speaker, _letter(len(names)))
    return tuple(replace(turn, speaker=names[turn.speaker]) for turn in ordered)


def _letter(index: int) -> str:
    name = ""
    while index >= 0:
        name = chr(ord("A") + index % 26) + name
        index = index // 26 - 1
    return name


def assign(segments: Iterable[Segment], turns: Sequence[SpeakerTurn]) -> tuple[Segment, ...]:
    """Give every word and every segment the speaker that is heard in it longest."""
    index = Turns(turns)
    return tuple(
        replace(
            segment,
            words=tuple(_assign_word(word, index) for word in segment.words),
            speaker=index.speaker(segment.start, segment.end),
        )
        for segment in segments
    )


def _assign_word(word: Word, index: Turns) -> Word:
    if word.start is None or word.end is None:
        return word
    return replace(word, speaker=index.speaker(word.start, word.end))


def by_speaker(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Cut segments where the speaker changes, so that each one has a single speaker."""
    return tuple(part for segment in segments for part in _split(segment))


def _split(segment: Segment) -> Iterable[Segment]:
    speaker = next((word.speaker for word in segment.words if word.speaker), segment.speaker)
    runs: list[list[Word]] = []
    for word in segment.words:
        if not runs or word.speaker not in (None, speaker):
            runs.append([])
            speaker = word.speaker or speaker
        runs[-1].append(replace(word, speaker=speaker))
    if len(runs) <= 1:
        return (replace(segment, speaker=runs[0][0].speaker) if runs else segment,)
    return (_of_words(segment, words, text) for words, text in zip(runs, _texts(segment, runs), strict=True))


def _texts(segment: Segment, runs: Sequence[Sequence[Word]]) -> list[str]:
    """Cut the text where each run begins: not every language joins its words with a space."""
    cuts, position = [], 0
    for words in runs:
        cuts.append(max(segment.text.find(words[0].text, position), position))
        for word in words:
            found = segment.text.find(word.text, position)
            position = found + len(word.text) if found >= 0 else position
    return [segment.text[start:end].strip() for start, end in pairwise([0, *cuts[1:], len(segment.text)])]


def _of_words(segment: Segment, words: Sequence[Word], text: str) -> Segment:
    starts = [word.start for word in words if word.start is not None]
    ends = [word.end for word in words if word.end is not None]
    return replace(
        segment,
        start=min(starts, default=segment.start),
        end=max(ends, default=segment.end),
        text=text,
        words=tuple(words),
        speaker=words[0].speaker,
    )
