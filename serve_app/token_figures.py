"""What the decoder's tokens say of text and words: their log-probabilities, where these were asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from serve_app.stages import WindowText
from serve_app.transcript import Segment, TokenLogprob, Word


def of_tokens(text: WindowText) -> tuple[TokenLogprob, ...]:
    """Return a window's tokens with their log-probabilities; nothing where they were not asked for."""
    if not text.token_logprobs:
        return ()
    starts = (0, *text.token_ends)
    return tuple(
        TokenLogprob(text.text[start:end], logprob)
        for start, end, logprob in zip(starts, text.token_ends, text.token_logprobs, strict=False)
    )


def with_probabilities(segments: Sequence[Segment], text: WindowText) -> list[Segment]:
    """Give the words of a window's segments the mean probability of their tokens, as openai-whisper does."""
    at = 0
    found = []
    for segment in segments:
        words: list[Word] = []
        for word in segment.words:
            begin = text.text.find(word.text, at)
            at = at if begin < 0 else begin + len(word.text)
            words.append(word if begin < 0 else replace(word, probability=_mean(text, begin, at)))
        found.append(replace(segment, words=tuple(words)))
    return found


def _mean(text: WindowText, begin: int, end: int) -> float | None:
    values = list(_between(text, begin, end))
    return round(sum(values) / len(values), 5) if values else None


def _between(text: WindowText, begin: int, end: int) -> Iterator[float]:
    start = 0
    for stop, logprob in zip(text.token_ends, text.token_logprobs, strict=False):
        if start < end and stop > begin:
            yield math.exp(logprob)
        start = stop
