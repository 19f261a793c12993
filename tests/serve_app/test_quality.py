"""The gate: what passes, what is tried again, what comes back suspect; and loops, cut without hurting real speech."""

from dataclasses import replace
from itertools import groupby

import pytest
from faster_whisper.transcribe import get_compression_ratio
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.options import TEMPERATURES, DecodeOptions, schedule
from serve_app.quality import Loop, Verdict, compression_ratio, cut_loops, decode_until_good, find_loop, judge
from serve_app.stages import WindowText

OPTIONS = DecodeOptions("en")
GOOD = WindowText("a b", "en", (1, 2), (1, 3), 0.0, avg_logprob=-0.2, compression_ratio=1.2, no_speech_prob=0.1)
LOW = replace(GOOD, avg_logprob=-1.5)
REPETITIVE = replace(GOOD, compression_ratio=3.0, avg_logprob=-0.1)
SILENT = replace(GOOD, avg_logprob=-1.5, no_speech_prob=0.9)


def spoken(words: str, **figures: float) -> WindowText:
    """A text of one token per word."""
    split = words.split()
    numbers = {word: number for number, word in enumerate(dict.fromkeys(split))}
    ends = [len("".join(f" {word}" for word in split[: i + 1])) for i in range(len(split))]
    text = "".join(f" {word}" for word in split)
    return WindowText(text, "en", tuple(numbers[word] for word in split), tuple(ends), **figures)


class Decoder:
    """Answers each temperature with a prepared text, and notes what was asked."""

    def __init__(self, *texts: WindowText) -> None:
        self.asked: list[float] = []
        self._texts = list(texts)

    async def __call__(self, temperature: float) -> WindowText:
        self.asked.append(temperature)
        return replace(self._texts[len(self.asked) - 1], temperature=temperature)


def test_zero_is_raised_automatically_and_others_are_final() -> None:
    assert schedule(0) == schedule(0.0) == TEMPERATURES == DecodeOptions().temperatures
    assert schedule(0.3) == (0.3,)
    with pytest.raises(ValueError, match="name at least one"):
        DecodeOptions(temperatures=())


@pytest.mark.parametrize(
    ("text", "changes", "verdict"),
    [
        (GOOD, {}, Verdict()),
        (LOW, {}, Verdict(reasons=("average log-probability -1.50 is below -1.0",))),
        (LOW, {"logprob_threshold": None}, Verdict()),
        (LOW, {"logprob_threshold": -2.0}, Verdict()),
        (replace(GOOD, avg_logprob=-1.0, compression_ratio=2.4), {}, Verdict()),
        (REPETITIVE, {}, Verdict(reasons=("compression ratio 3.00 is above 2.4",))),
        (REPETITIVE, {"compression_ratio_threshold": None}, Verdict()),
        (SILENT, {}, Verdict(silent=True)),
        (replace(SILENT, compression_ratio=9.0), {}, Verdict(silent=True)),
        (replace(SILENT, avg_logprob=-0.5), {}, Verdict()),
        (replace(SILENT, avg_logprob=-0.5), {"logprob_threshold": None}, Verdict(silent=True)),
        (SILENT, {"no_speech_threshold": None}, Verdict(reasons=("average log-probability -1.50 is below -1.0",))),
        (replace(SILENT, no_speech_prob=0.6), {"logprob_threshold": None}, Verdict()),
        (spoken("no " * 17), {}, Verdict(reasons=("a phrase is repeated over and over",))),
        (spoken("no " * 17), {"compression_ratio_threshold": None}, Verdict()),
    ],
)
def test_a_text_is_held_to_the_thresholds(text: WindowText, changes: dict[str, float], verdict: Verdict) -> None:
    assert judge(text, replace(OPTIONS, **changes)) == verdict


def test_all_that_fails_is_named() -> None:
    assert len(judge(replace(REPETITIVE, avg_logprob=-3.0), OPTIONS).reasons) == 2


async def test_a_good_text_is_decoded_once() -> None:
    decoder = Decoder(GOOD)
    assert await decode_until_good(decoder, OPTIONS) == GOOD
    assert decoder.asked == [0.0]


async def test_a_failed_text_is_decoded_again_until_one_passes() -> None:
    decoder = Decoder(replace(LOW, queue_s=0.5, model_s=1.0), REPETITIVE, replace(GOOD, queue_s=0.25, model_s=2.0))
    text = await decode_until_good(decoder, OPTIONS)
    assert decoder.asked == [0.0, 0.2, 0.4]
    assert text == replace(GOOD, temperature=0.4, queue_s=0.75, model_s=3.0)


async def test_silence_is_dropped_and_not_tried_again() -> None:
    decoder = Decoder(replace(SILENT, token_logprobs=(-1.0, -2.0)))
    text = await decode_until_good(decoder, OPTIONS)
    assert decoder.asked == [0.0]
    assert text == replace(SILENT, text="", tokens=(), token_ends=(), compression_ratio=0.0)
    assert not text.suspect


async def test_silence_may_be_noticed_late() -> None:
    text = await decode_until_good(Decoder(LOW, SILENT), OPTIONS)
    assert (text.text, text.temperature, text.suspect) == ("", 0.2, False)


async def test_the_likeliest_varied_try_is_kept_and_suspect() -> None:
    tries = [REPETITIVE, LOW, replace(LOW, avg_logprob=-1.2), replace(LOW, avg_logprob=-1.3), LOW, REPETITIVE]
    decoder = Decoder(*tries)
    text = await decode_until_good(decoder, OPTIONS)
    assert decoder.asked == list(TEMPERATURES)
    assert (text.temperature, text.avg_logprob, text.suspect) == (0.4, -1.2, True)
    assert text.reason == "average log-probability -1.20 is below -1.0"


async def test_a_try_without_a_loop_is_kept_before_a_likelier_one_with_one() -> None:
    looping = spoken("no " * 17, avg_logprob=-0.1)
    text = await decode_until_good(Decoder(LOW, *[looping] * 5), OPTIONS)
    assert (text.text, text.temperature, text.suspect) == (LOW.text, 0.0, True)


async def test_when_all_repeat_themselves_the_likeliest_is_kept() -> None:
    tries = [replace(REPETITIVE, avg_logprob=-0.1 * (1 + abs(i - 3))) for i in range(6)]
    text = await decode_until_good(Decoder(*tries), OPTIONS)
    assert (text.temperature, text.suspect) == (0.6, True)


async def test_a_temperature_of_the_clients_own_is_tried_once() -> None:
    decoder = Decoder(LOW)
    text = await decode_until_good(decoder, replace(OPTIONS, temperatures=schedule(0.7)))
    assert (decoder.asked, text.temperature, text.suspect) == ([0.7], 0.7, True)


async def test_a_loop_that_stays_is_cut() -> None:
    loop = spoken("he said " + "thank you " * 30, compression_ratio=9.0)
    text = await decode_until_good(Decoder(*[loop] * 6), OPTIONS)
    assert (text.text, text.suspect) == (" he said thank you", True)
    assert text.reason == (
        "compression ratio 9.00 is above 2.4; a phrase is repeated over and over; 29 repetitions were cut"
    )
    kept = await decode_until_good(Decoder(loop), replace(OPTIONS, compression_ratio_threshold=None))
    assert (kept.text, kept.suspect) == (loop.text, False)


async def test_an_error_of_the_decoder_is_the_callers() -> None:
    async def broken(temperature: float) -> WindowText:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await decode_until_good(broken, OPTIONS)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "no",
        "no no no no",
        "no " * 16,
        "ha ha " * 8,
        "row row row your boat gently down the stream",
        "very very very " * 5,
        "never gonna give you up " * 6,
        "one two three " * 6,
    ],
)
def test_real_repetition_is_left_alone(words: str) -> None:
    text = spoken(words)
    assert find_loop(text.tokens) is None
    assert cut_loops(text) is text


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("no " * 17, "no"),
        ("and then " + "no " * 40 + "he left", "and then no he left"),
        ("thank you " * 9, "thank you"),
        ("I went home " + "and then we " * 20 + "and", "I went home and then we"),
        ("the cat sat on the mat " * 7, "the cat sat on the mat"),
        ("a " * 20 + "b " * 20, "a b"),
        ("so " + "la la di " * 10 + "end", "so la la di end"),
    ],
)
def test_a_loop_is_cut_to_its_first_round(words: str, left: str) -> None:
    text = cut_loops(spoken(words))
    assert text.text.split() == left.split()
    assert text.suspect
    assert "were cut" in text.reason
    assert text.token_ends == spoken(left).token_ends
    assert text.compression_ratio == compression_ratio(text.text)


def test_the_tokens_figures_are_cut_along() -> None:
    text = spoken("x " + "no " * 20 + "y")
    text = cut_loops(replace(text, token_logprobs=tuple(-float(i) for i in range(22))))
    assert (text.tokens, text.token_logprobs) == ((0, 1, 2), (0.0, -1.0, -21.0))


def test_a_loop_is_found_where_it_begins() -> None:
    assert find_loop([9, *[1, 2] * 9]) == Loop(start=3, stop=19, period=2)
    assert find_loop([*[1, 2] * 9, 1, 7]) == Loop(start=2, stop=18, period=2)
    assert find_loop([*[1, 2] * 9, 1]) == Loop(start=2, stop=19, period=2)


def of_bytes(data: bytes) -> WindowText:
    """A text of one token per byte, decoded as byte-level tokenizers do."""
    ends = tuple(len(data[: i + 1].decode(errors="replace")) for i in range(len(data)))
    return WindowText(data.decode(errors="replace"), "en", tuple(data), ends)


@given(st.text(max_size=4), st.text(min_size=1, max_size=4), st.integers(1, 40), st.text(max_size=4))
@example("\x86", "\u0cc6", 7, "")
@example("\xcb", "\x8b", 8, "\x80")
def test_cutting_leaves_a_text_of_its_tokens(before: str, phrase: str, times: int, after: str) -> None:
    text = of_bytes((before + phrase * times + after).encode())
    left = cut_loops(text)
    assert replace(left, suspect=False, reason="") == replace(
        of_bytes(bytes(left.tokens)), compression_ratio=left.compression_ratio
    )
    assert find_loop(left.tokens) is None
    assert left.suspect == (len(left.tokens) < len(text.tokens))


@given(st.lists(st.integers(0, 2), max_size=60))
def test_what_is_cut_was_said_before(tokens: list[int]) -> None:
    loop = find_loop(tokens)
    longest_run = max((len(list(run)) for _, run in groupby(tokens)), default=0)
    if loop is None:
        assert longest_run <= 16
    else:
        assert all(tokens[i] == tokens[i - loop.period] for i in range(loop.start, loop.stop))
        assert loop.stop - loop.start >= 6 * loop.period


@given(st.text())
def test_the_compression_ratio_is_faster_whispers(text: str) -> None:
    assert compression_ratio(text) == (get_compression_ratio(text) if text else 0.0)
