"""Tokens' log-probabilities, as tokens and as words' probabilities."""

import math

import pytest
from fakes import words

from serve_app.stages import WindowText
from serve_app.token_figures import of_tokens, with_probabilities
from serve_app.transcript import Segment, TokenLogprob

LOGPROBS = tuple(map(math.log, (0.9, 0.5, 0.7, 0.2)))
TEXT = WindowText(" Hello there you", "en", (1, 2, 3, 4), (6, 9, 12, 16), token_logprobs=LOGPROBS)


def test_each_token_has_its_text() -> None:
    assert of_tokens(TEXT) == tuple(map(TokenLogprob, (" Hello", " th", "ere", " you"), LOGPROBS))
    assert "".join(token.text for token in of_tokens(TEXT)) == TEXT.text


def test_without_figures_there_are_none() -> None:
    assert of_tokens(WindowText("Hello", "en", (1,), (5,))) == ()


def test_a_word_has_the_mean_of_its_tokens() -> None:
    segments = [Segment(0, 1, "Hello there", words("Hello there", 0, 1)), Segment(1, 2, "you", words("you", 1, 2))]
    found = [word for each in with_probabilities(segments, TEXT) for word in each.words]
    assert [word.probability for word in found] == pytest.approx([0.9, 0.6, 0.2])


def test_a_word_that_is_not_in_the_text_has_none_and_costs_the_next_nothing() -> None:
    (segment,) = with_probabilities([Segment(0, 1, "x", words("Hello wrong you", 0, 1))], TEXT)
    assert [word.probability for word in segment.words] == [pytest.approx(0.9), None, pytest.approx(0.2)]
