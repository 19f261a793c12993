"""From whisperx's rows to segments, without a model: rows are written by hand."""

from typing import Any

import numpy as np

from serve_app.alignment import Placing, buckets
from serve_app.models.align_result import Reading, one_to_one, segments
from serve_app.options import AlignOptions
from serve_app.stages import WindowText
from serve_app.transcript import Char, Segment, Word
from serve_app.windows import Window

WINDOW = Window(160_000, 192_000)
"""From 10 s to 12 s."""


def read(rows: list[dict[str, Any]], text: str, options: AlignOptions | None = None, **more: Any) -> list[Segment]:
    placing = Placing(np.zeros(32_000, np.float32), WINDOW, WindowText(text, **({"language": "en"} | more)))
    return segments(rows, Reading(placing, options or AlignOptions(), set("abcdefghijklmnopqrstuvwxyz'|")))


def row(text: str, *words: tuple[Any, ...]) -> dict[str, Any]:
    placed = [dict(zip(("word", "start", "end", "score"), word, strict=False)) for word in words]
    starts, ends = [word["start"] for word in placed if "start" in word], [w["end"] for w in placed if "end" in w]
    bounds = {"start": min(starts, default=float("nan")), "end": max(ends, default=float("nan"))}
    return {"text": text, "words": placed, "chars": None} | bounds


def test_sentences_and_words_lie_at_seconds_of_the_file() -> None:
    rows = [row("A b.", ("A", 0.1, 0.2, 0.9), ("b.", 0.3, 0.5, 0.8)), row("C!", ("C!", 1.0, 1.25, 0.7))]
    first, second = read(rows, " A b.  C!", tokens=(7, 8, 9), token_ends=(2, 5, 9))
    assert (first.start, first.end, first.text, first.seek) == (10.1, 10.5, "A b.", 1000)
    assert first.words == (Word("A", 10.1, 10.2, 0.9), Word("b.", 10.3, 10.5, 0.8))
    assert (second.start, second.end, second.text) == (11.0, 11.25, "C!")
    assert (first.tokens, second.tokens, first.chars) == ((7, 8), (9,), ())


def test_every_sentence_of_a_doubtful_window_is_doubtful() -> None:
    rows = [row("A.", ("A.", 0.1, 0.2, 0.9)), row("B.", ("B.", 0.3, 0.5, 0.8))]
    assert [segment.suspect for segment in read(rows, "A. B.", suspect=True)] == [True, True]
    assert [segment.suspect for segment in read(rows, "other words", suspect=True)] == [True]
    assert [segment.suspect for segment in read(rows, "A. B.")] == [False, False]


def test_every_token_belongs_to_one_sentence() -> None:
    rows = [row("A.", ("A.", 0.1, 0.2, 0.9)), row("B.", ("B.", 0.3, 0.5, 0.8))]
    first, second = read(rows, " A. B. ", tokens=(1, 2, 3, 4, 5), token_ends=(0, 3, 4, 6, 7))
    assert (first.tokens, second.tokens) == ((1, 2), (3, 4, 5))


def test_spaces_inside_a_sentence_stay_as_they_are() -> None:
    rows = [row("A. B.", ("A.", 0.1, 0.2, 0.9), ("B.", 0.1, 0.2, 0.9))]  # whisperx joins equal times by one space
    assert [segment.text for segment in read(rows, "A.\n B.")] == ["A.\n B."]


def test_times_never_run_backwards_nor_out_of_the_window() -> None:
    rows = [row("a b c", ("a", -0.1, 0.4, 0.9), ("b", 0.3, 0.35, 0.8), ("c", 1.9, 2.7, 0.8))]
    (segment,) = read(rows, "a b c")
    assert [(word.start, word.end) for word in segment.words] == [(10.0, 10.4), (10.3, 10.4), (11.9, 12.0)]
    assert (segment.start, segment.end) == (10.0, 12.0)


def test_a_word_without_times_takes_the_gap_between_its_neighbours() -> None:
    rows = [row("| a | b |", ("|",), ("a", 0.2, 0.4, 0.9), ("|",), ("b", 0.8, 0.9, 0.9), ("|",))]
    (segment,) = read(rows, "| a | b |")
    gaps = [(word.start, word.end, word.score) for word in segment.words if word.text == "|"]
    assert gaps == [(10.2, 10.2, None), (10.4, 10.8, None), (10.9, 10.9, None)]
    (untouched,) = read(rows, "| a | b |", AlignOptions(interpolate_method="ignore"))
    assert [word.start for word in untouched.words] == [None, 10.2, None, 10.8, None]


def test_a_score_says_how_well_a_known_letter_was_heard() -> None:
    rows = [row("a1 42 €", ("a1", 0.2, 0.4, 0.9), ("42", 0.5, 0.6, 0.8), ("€", 0.8, 0.9, 0.7))]
    (segment,) = read(rows, "a1 42 €")
    assert [word.score for word in segment.words] == [0.9, None, None]


def test_characters_come_when_they_are_asked_for() -> None:
    rows = [row("a 1", ("a", 0.2, 0.4, 0.9), ("1", 0.5, 0.6, 0.8))]
    rows[0]["chars"] = [
        {"char": "a", "start": 0.2, "end": 0.4, "score": 0.9},
        {"char": " "},
        {"char": "1", "start": 0.5, "end": 0.6, "score": 0.8},
    ]
    (segment,) = read(rows, "a  1", AlignOptions(chars=True))
    space = Char(" ", None, None)
    assert segment.chars == (Char("a", 10.2, 10.4, 0.9), space, space, Char("1", 10.5, 10.6))


def test_rows_that_are_not_the_text_give_one_segment_whose_words_share_the_window() -> None:
    for rows in ([], [row("a b")], [row("b", ("b", 0.1, 0.2))], [row("a b c", *[(c, 0.1, 0.2) for c in "abc"])]):
        (segment,) = read(rows, " a b", tokens=(1, 2), token_ends=(2, 4))
        assert (segment.start, segment.end, segment.text, segment.tokens) == (10.0, 12.0, "a b", (1, 2))
        assert segment.words == (Word("a", 10.0, 10.667), Word("b", 11.333, 12.0))


def test_the_lone_segment_has_characters_and_knows_what_a_word_is() -> None:
    (segment,) = read([], "a b", AlignOptions(chars=True))
    assert segment.chars == (Char("a", 10.0, 10.667), Char(" ", None, None), Char("b", 11.333, 12.0))
    (chinese,) = read([], "你好", language="zh")
    assert chinese.words == (Word("你", 10.0, 11.0), Word("好", 11.0, 12.0))
    (ignored,) = read([], "a b", AlignOptions(interpolate_method="ignore", chars=True))
    assert ignored.words == (Word("a", None, None), Word("b", None, None))
    assert {char.start for char in ignored.chars} == {None}


def test_a_letter_whose_lower_case_is_two_letters_keeps_its_place() -> None:
    assert one_to_one("İyi ẞ") == "iyi ẞ"
    (segment,) = read([row("iyi", ("iyi", 0.2, 0.4, 0.9))], "İyi")
    assert segment.words == (Word("İyi", 10.2, 10.4, 0.9),)


def test_buckets_hold_windows_of_similar_length_and_each_once() -> None:
    lengths = [100, 480, 400, 90, 30, 470, 385]
    assert list(buckets(lengths, 8)) == [[1, 5, 2, 6], [0, 3], [4]]
    assert list(buckets(lengths, 2)) == [[1, 5], [2, 6], [0, 3], [4]]
    assert list(buckets([], 8)) == []
