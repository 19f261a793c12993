"""The quality gate, as openai-whisper and faster-whisper have it: pure functions that judge a window's text.

A text that fails is decoded again at the next temperature. When the last one fails too, the best try is kept and
marked `suspect`. Repetition loops that are left in it are cut.
"""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from serve_app.options import DecodeOptions
from serve_app.stages import WindowText

MOST_TOKENS = 16
"""So many tokens in a row may be one n-gram over and over: 'no' sixteen times is still taken for speech …"""
MOST_PHRASES = 6
"""… and so may six repetitions of any n-gram, however long."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`silent`: nothing was said, drop the text. Otherwise `reasons` tells what to decode again for; none: good."""

    silent: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loop:
    """Tokens start…stop say again what the `period` tokens before `start` said."""

    start: int
    stop: int
    period: int


async def decode_until_good(decode: Callable[[float], Awaitable[WindowText]], options: DecodeOptions) -> WindowText:
    """Decode a window at one temperature after another until its text passes; what never passes comes back suspect."""
    tries: list[WindowText] = []
    for temperature in options.temperatures:
        tries.append(await decode(temperature))
        verdict = judge(tries[-1], options)
        if verdict.silent or not verdict.reasons:
            break
    chosen = _chosen(tries, verdict, options)
    return replace(chosen, queue_s=sum(each.queue_s for each in tries), model_s=sum(each.model_s for each in tries))


def judge(text: WindowText, options: DecodeOptions) -> Verdict:
    """Hold a text to the request's thresholds; silence outweighs every other failure, as in whisper."""
    if _silent(text, options):
        return Verdict(silent=True)
    reasons = []
    if _repetitive(text, options):
        reasons.append(f"compression ratio {text.compression_ratio:.2f} is above {options.compression_ratio_threshold}")
    if _looping(text, options):
        reasons.append("a phrase is repeated over and over")
    if options.logprob_threshold is not None and text.avg_logprob < options.logprob_threshold:
        reasons.append(f"average log-probability {text.avg_logprob:.2f} is below {options.logprob_threshold}")
    return Verdict(reasons=tuple(reasons))


def cut_loops(text: WindowText) -> WindowText:
    """Keep the first of each phrase that a decoder's loop repeats, and mark the text suspect; others stay as they are.

    A loop is an n-gram of tokens that follows itself more than max(6, 16 / n) times. Below that it may be speech.
    """
    while loop := find_loop(text.tokens):
        text = _without(text, _between_characters(text.token_ends, loop))
    return text


def find_loop(tokens: Sequence[int]) -> Loop | None:
    """Return the loop of the shortest period; at the end of the tokens its last, incomplete round is part of it."""
    for period in range(1, len(tokens) // (MOST_PHRASES + 1) + 1):
        most = period * max(MOST_PHRASES, MOST_TOKENS // period)
        same = 0
        for place in range(period, len(tokens) + 1):
            if place < len(tokens) and tokens[place] == tokens[place - period]:
                same += 1
            elif same >= most:
                rest = 0 if place == len(tokens) else same % period
                return Loop(place - same, place - rest, period)
            else:
                same = 0
    return None


def _between_characters(ends: Sequence[int], loop: Loop) -> Loop:
    """Return the loop moved back so that it begins and ends between characters, where tokens are parts of them.

    What is left is the same, since a loop repeats itself; unless its last round is incomplete and has to stay for that.
    """

    def whole(place: int) -> bool:
        return place == len(ends) or ends[place] > ends[place - 1]

    if whole(loop.start) and whole(loop.stop):
        return loop
    stop = loop.stop - (loop.stop - loop.start) % loop.period
    for back in range(loop.period):
        if whole(loop.start - back) and whole(stop - back):
            return Loop(loop.start - back, stop - back, loop.period)
    return loop


def compression_ratio(text: str) -> float:
    """Return the text's bytes over its zlib bytes, as whisper does; 0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _silent(text: WindowText, options: DecodeOptions) -> bool:
    if options.no_speech_threshold is None or text.no_speech_prob <= options.no_speech_threshold:
        return False
    return options.logprob_threshold is None or text.avg_logprob < options.logprob_threshold


def _repetitive(text: WindowText, options: DecodeOptions) -> bool:
    limit = options.compression_ratio_threshold
    return limit is not None and text.compression_ratio > limit


def _looping(text: WindowText, options: DecodeOptions) -> bool:
    return options.compression_ratio_threshold is not None and find_loop(text.tokens) is not None


def _chosen(tries: Sequence[WindowText], last: Verdict, options: DecodeOptions) -> WindowText:
    if last.silent:
        return replace(tries[-1], text="", tokens=(), token_ends=(), token_logprobs=(), compression_ratio=0.0)
    if not last.reasons:
        return tries[-1]
    varied = [text for text in tries if not _repetitive(text, options) and not _looping(text, options)]
    best = max(varied or tries, key=lambda text: text.avg_logprob)
    marked = replace(best, suspect=True, reason="; ".join(judge(best, options).reasons))
    return marked if options.compression_ratio_threshold is None else cut_loops(marked)


def _without(text: WindowText, loop: Loop) -> WindowText:
    start, stop = text.token_ends[loop.start - 1], text.token_ends[loop.stop - 1]
    left = text.text[:start] + text.text[stop:]
    told = f"{(loop.stop - loop.start) // loop.period} repetitions were cut"
    return replace(
        text,
        text=left,
        tokens=text.tokens[: loop.start] + text.tokens[loop.stop :],
        token_ends=(*text.token_ends[: loop.start], *(end - stop + start for end in text.token_ends[loop.stop :])),
        token_logprobs=text.token_logprobs[: loop.start] + text.token_logprobs[loop.stop :],
        compression_ratio=compression_ratio(left),
        suspect=True,
        reason=f"{text.reason}; {told}" if text.reason else told,
    )
