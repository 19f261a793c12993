"""From whisperx's sentences to segments: nothing of the text is lost, and times never run backwards nor out of it."""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isnan
from typing import Any

from serve_app.alignment import Placing
from serve_app.options import AlignOptions
from serve_app.stages import WindowText
from serve_app.transcript import Char, Segment, Word

Row = dict[str, Any]
"""One of whisperx's: a sentence with its `words` and `chars`, a word, or a character; times in seconds of the clip."""
Span = tuple[int, int]
WORDS_ARE_CHARACTERS = frozenset({"ja", "zh"})
"""whisperx's languages without spaces, each character of which it calls a word."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one window's rows are read: what was asked, and which characters the aligner knows."""

    placing: Placing
    options: AlignOptions
    known: Container[str]

    def score(self, text: str, row: Row) -> float | None:
        """Return how sure the aligner is; None where it knows no letter of the text, so that its score says nothing."""
        knows = any(letter.lower() in self.known for letter in text)
        return float(row["score"]) if knows and row.get("score") is not None else None


class Clock:
    """Turns seconds of the clip into seconds of the file, inside the window and never before what was read last."""

    def __init__(self, placing: Placing) -> None:
        self._first, self._last = placing.window.start_s, placing.window.stop_s
        self._start = self._end = self._first

    def read(self, row: Row) -> tuple[float, float] | tuple[None, None]:
        """Return the start and end of a sentence, word or character, or None for both."""
        start, end = row.get("start"), row.get("end")
        if start is None or end is None or isnan(start) or isnan(end):
            return None, None
        self._start = max(self._start, self._inside(start))
        self._end = max(self._end, self._start, self._inside(end))
        return self._start, self._end

    def _inside(self, seconds: float) -> float:
        return min(max(round(self._first + float(seconds), 3), self._first), self._last)


class TextDiffersError(ValueError):
    """Some parts are not all of a text in its order."""


def one_to_one(text: str) -> str:
    """Return a text of equal length in which lower() changes no length, as whisperx takes for granted; "İ" grows."""
    return "".join(letter if len(letter.lower()) == 1 else letter.lower()[0] for letter in text)


def segments(rows: Sequence[Row], reading: Reading) -> list[Segment]:
    """Return a window's sentences with their words at seconds of the file.

    Where the rows are not the whole text, or lack words, the window is one segment whose words share its time.
    """
    try:
        return list(_segments(rows, reading))
    except TextDiffersError:
        return [spread(reading)]


def _segments(rows: Sequence[Row], reading: Reading) -> Iterator[Segment]:
    text = reading.placing.text
    plain = one_to_one(text.text)
    spans = spans_of(plain, (0, len(plain)), [row["text"] for row in rows])
    clocks = [Clock(reading.placing) for _ in range(3)]
    for row, span, tokens in zip(rows, spans, _tokens(text, spans), strict=True):
        words = _words(row, spans_of(plain, span, [word["word"] for word in row["words"]]), reading, clocks[0])
        start, end = clocks[1].read(row)
        window = reading.placing.window
        segment = text.segment(
            window,
            window.start_s if start is None else start,
            window.stop_s if end is None else end,
            text.text[slice(*span)],
            tokens,
            words,
        )
        chars = _chars(row, span, reading, clocks[2]) if reading.options.chars else ()
        yield replace(segment, chars=chars)


def spans_of(text: str, within: Span, parts: Sequence[str]) -> list[Span]:
    """Return where the parts lie in a stretch of the text, spaces not compared; raises TextDiffersError."""
    letters = [place for place in range(*within) if not text[place].isspace()]
    spans, at = [], 0
    for part in parts:
        wanted = [letter for letter in part if not letter.isspace()]
        found = letters[at : at + len(wanted)]
        if not wanted or [text[place] for place in found] != wanted:
            raise TextDiffersError(f"{part!r} is not what follows in {text!r}")
        spans.append((found[0], found[-1] + 1))
        at += len(wanted)
    if at < len(letters):
        raise TextDiffersError(f"{text[letters[at] : within[1]]!r} is missing")
    return spans


def _words(row: Row, spans: Sequence[Span], reading: Reading, clock: Clock) -> tuple[Word, ...]:
    rows = row["words"] if reading.options.interpolate_method == "ignore" else _filled(row)
    texts = [reading.placing.text.text[slice(*span)] for span in spans]
    return tuple(_word(text, word, reading, clock) for text, word in zip(texts, rows, strict=True))


def _word(text: str, row: Row, reading: Reading, clock: Clock) -> Word:
    start, end = clock.read(row)
    return Word(text, start, end, reading.score(text, row))


def _filled(row: Row) -> Iterator[Row]:
    """Give the words that whisperx left without times the gap between their neighbours, or the sentence's bounds."""
    at = row["start"]
    for place, word in enumerate(row["words"]):
        following = (later["start"] for later in row["words"][place:] if "start" in later and "end" in later)
        placed = word if "start" in word and "end" in word else {"start": at, "end": next(following, row["end"])}
        yield placed
        at = placed["end"]


def _chars(row: Row, span: Span, reading: Reading, clock: Clock) -> tuple[Char, ...]:
    """Return every character of a sentence; spaces have no times."""
    text = reading.placing.text.text
    letters = [char for char in row["chars"] if not char["char"].isspace()]
    spans = spans_of(one_to_one(text), span, [char["char"] for char in letters])
    rows = {place: char for (place, _), char in zip(spans, letters, strict=True)}
    return tuple(_char(text[place], rows.get(place, {}), reading, clock) for place in range(*span))


def _char(text: str, row: Row, reading: Reading, clock: Clock) -> Char:
    start, end = clock.read(row)
    return Char(text, start, end, reading.score(text, row))


def _tokens(text: WindowText, spans: Sequence[Span]) -> Iterator[tuple[int, ...]]:
    """Share the window's tokens out between its sentences: each to the one it ends in, what follows to the last."""
    bounds = [-1, *(end for _, end in spans[:-1]), len(text.text)]
    for after, until in pairwise(bounds):
        yield tuple(token for token, end in zip(text.tokens, text.token_ends, strict=True) if after < end <= until)


def spread(reading: Reading) -> Segment:
    """Return the window as one segment whose words lie evenly over it, without scores (`ignore`: without times)."""
    window, text = reading.placing.window, reading.placing.text
    said = text.text.strip()
    words, chars = Clock(reading.placing), Clock(reading.placing)
    step = (window.stop_s - window.start_s) / len(said)

    def row(begin: int, end: int) -> Row:
        return {} if reading.options.interpolate_method == "ignore" else {"start": begin * step, "end": end * step}

    segment = text.segment(
        window,
        window.start_s,
        window.stop_s,
        said,
        text.tokens,
        tuple(Word(said[begin:end], *words.read(row(begin, end))) for begin, end in _word_spans(said, text.language)),
    )
    letters = enumerate(said if reading.options.chars else "")
    return replace(segment, chars=tuple(Char(c, *chars.read({} if c.isspace() else row(i, i + 1))) for i, c in letters))


def _word_spans(said: str, language: str) -> list[Span]:
    pattern = r"\S" if language in WORDS_ARE_CHARACTERS else r"\S+"
    return [found.span() for found in re.finditer(pattern, said)]
