"""The transcript's own text and words."""

import pytest
from fakes import segment

from serve_app.transcript import Segment, Transcript


def test_text_is_one_line_of_stripped_segments() -> None:
    transcript = Transcript("en", 9.0, (Segment(0, 3, " Hello there. "), Segment(3, 6, "  "), Segment(6, 9, "Bye.\n")))
    assert transcript.text == "Hello there. Bye."


@pytest.mark.parametrize(
    ("language", "text"), [("ja", "今日はいい天気"), ("zh", "今日はいい天気"), ("ko", "今日は いい天気")]
)
def test_unspaced_languages_are_joined_without_a_space(language: str, text: str) -> None:
    assert Transcript(language, 2.0, (Segment(0, 1, "今日は"), Segment(1, 2, " いい天気"))).text == text


def test_words_are_those_of_all_segments_in_order() -> None:
    transcript = Transcript("en", 4.0, (segment("a b", 0, 2), Segment(2, 3, "no words"), segment("c", 3, 4)))
    assert [word.text for word in transcript.words] == ["a", "b", "c"]


def test_nothing_heard_is_an_empty_text() -> None:
    assert (Transcript("en", 3.0).text, Transcript("en", 3.0).words) == ("", ())
