"""Every back end is held to the same: the words, the figures, each option honoured or refused, silence, memory."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from serve_app import quality
from serve_app.errors import UnsupportedOption
from serve_app.models.transcribers.interface import Transcriber
from serve_app.options import DecodeOptions, RequestOptions
from serve_app.stages import Audio
from serve_app.transcribe import transcribe
from serve_app.windows import SAMPLE_RATE

ENGLISH = DecodeOptions("en")
REFUSED = {
    "FasterWhisper": set(),
    "TransformersWhisper": {"patience"},
    "WhisperCpp": {"patience", "length_penalty", "repetition_penalty", "no_repeat_ngram_size"},
}
"""What each back end says that it does not have; everything else it honours."""
SHORT = slice(3 * SAMPLE_RATE, 8 * SAMPLE_RATE)


def test_the_words_are_those_that_are_said(model: Transcriber, ten_seconds: Audio, sample: Any) -> None:
    (text,) = model.transcribe([ten_seconds], ENGLISH)
    assert text.text.split() == sample("ten_seconds").words
    assert (text.language, text.temperature) == ("en", 0.0)


def test_figures_belong_to_the_text(model: Transcriber, ten_seconds: Audio, loaded: Callable[..., Transcriber]) -> None:
    (text,) = model.transcribe([ten_seconds], replace(ENGLISH, beam_size=1, token_probs=True))
    (wanted,) = loaded("faster-whisper").transcribe([ten_seconds], replace(ENGLISH, beam_size=1, token_probs=True))
    assert text.tokens == wanted.tokens
    assert text.token_ends == wanted.token_ends
    assert text.avg_logprob == pytest.approx(wanted.avg_logprob, abs=0.04)
    assert text.token_logprobs == pytest.approx(wanted.token_logprobs, abs=0.03)
    assert text.compression_ratio == wanted.compression_ratio
    assert text.no_speech_prob < 0.01
    assert quality.judge(text, ENGLISH) == quality.Verdict()


def test_a_batch_gives_what_its_clips_give_alone_also_from_two_threads(model: Transcriber, speech: Audio) -> None:
    clips = [speech[start * SAMPLE_RATE : (start + 4) * SAMPLE_RATE] for start in (3, 33)]
    alone = [model.transcribe([clip], ENGLISH)[0] for clip in clips]
    with ThreadPoolExecutor(2) as pool:
        for texts in pool.map(lambda _: model.transcribe(clips, ENGLISH), range(2)):
            assert [text.text for text in texts] == [text.text for text in alone]
    assert len({text.text for text in alone}) == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"task": "translate"},
        {"initial_prompt": "The cat sees the laptop."},
        {"hotwords": "garden, letter"},
        {"beam_size": 2},
        {"patience": 2.0},
        {"length_penalty": 0.5},
        {"repetition_penalty": 1.1},
        {"no_repeat_ngram_size": 3},
        {"suppress_blank": False},
        {"suppress_tokens": (-1, 755)},
        {"suppress_numerals": True},
        {"token_probs": True},
    ],
    ids=lambda asked: "+".join(asked),
)
def test_an_option_is_honoured_or_refused_by_its_name(model: Transcriber, speech: Audio, asked: dict[str, Any]) -> None:
    (name,) = asked
    options = replace(ENGLISH, **{"beam_size": 1, **asked})
    if name in REFUSED[type(model).__name__]:
        with pytest.raises(UnsupportedOption, match=f"backend .* has no {name}; ") as refusal:
            model.transcribe([speech[SHORT]], options)
        assert refusal.value.param == name
    else:
        (text,) = model.transcribe([speech[SHORT]], options)
        assert text.text.strip()
        assert bool(text.token_logprobs) == options.token_probs


def test_an_endless_prompt_leaves_room_for_the_text(model: Transcriber, speech: Audio) -> None:
    for words in (100, 1000):
        asked = replace(ENGLISH, initial_prompt="The cat sees the laptop. " * words, hotwords="garden " * words)
        assert len(model.transcribe([speech[SHORT]], asked)) == 1


def test_a_prompt_reaches_the_model(model: Transcriber, speech: Audio) -> None:
    (plain,) = model.transcribe([speech[SHORT]], ENGLISH)
    for asked in ({"initial_prompt": "The cat sees the laptop."}, {"hotwords": "garden"}):
        (led,) = model.transcribe([speech[SHORT]], replace(ENGLISH, **asked))
        assert led.avg_logprob != plain.avg_logprob


def test_a_suppressed_token_is_never_written(model: Transcriber, speech: Audio) -> None:
    (text,) = model.transcribe([speech[SHORT]], ENGLISH)
    (other,) = model.transcribe([speech[SHORT]], replace(ENGLISH, suppress_tokens=(-1, text.tokens[0])))
    assert text.tokens[0] not in other.tokens


def test_a_language_that_the_snapshot_lacks_is_refused(model: Transcriber, speech: Audio) -> None:
    with pytest.raises(UnsupportedOption, match="does not hear language 'de', only: en") as caught:
        model.transcribe([speech[SHORT]], DecodeOptions("de"))
    assert caught.value.param == "language"


def test_sampling_tells_its_temperature_and_keeps_the_likeliest(model: Transcriber, speech: Audio) -> None:
    (text,) = model.transcribe([speech[SHORT]], replace(ENGLISH, best_of=2), 0.4)
    assert text.temperature == 0.4
    assert -5 < text.avg_logprob < 0


@pytest.mark.parametrize("name", ["faster-whisper", "transformers", "whisper-cpp"])
def test_languages_are_the_snapshots_and_sum_to_one(
    name: str, loaded: Callable[..., Transcriber], speech: Audio
) -> None:
    if name == "whisper-cpp":
        pytest.importorskip("_pywhispercpp")
    polyglot = loaded(name, ("de", "en", "fr"))
    (row,) = polyglot.detect([speech[SHORT]])
    assert set(row) == {"de", "en", "fr"}
    assert sum(row.values()) == pytest.approx(1)
    assert row["en"] > 0.9
    assert polyglot.transcribe([speech[SHORT]], DecodeOptions())[0].language == "en"


@pytest.mark.parametrize("windows", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_long_silence_ends_soon_and_says_nothing(model: Transcriber, windows: int) -> None:
    window = np.zeros(30 * SAMPLE_RATE, np.float32)

    async def decode(temperature: float) -> Any:
        return model.transcribe([window], greedy, temperature)[0]

    greedy = replace(ENGLISH, beam_size=1)
    for _ in range(windows):
        text = asyncio.run(quality.decode_until_good(decode, greedy))
        assert text.text == ""
        assert math.isfinite(text.avg_logprob)


async def test_clip_timestamps_are_cut_before_the_model_hears_them(model: Transcriber, data: Path, sample: Any) -> None:
    options = RequestOptions(ENGLISH, align=False, clips=((0.0, 3.0), (6.0, None)))
    transcript = await transcribe(data / "ten_seconds.flac", model, options)
    said = sample("ten_seconds").words
    heard = transcript.text.split()
    assert heard[:4] == said[:4]
    assert heard[-4:] == said[-4:]
    assert len(heard) < len(said) - 3
    assert all(part.end <= 3.0 or part.start >= 6.0 for part in transcript.segments)


def test_the_shortest_clips_are_heard(model: Transcriber, speech: Audio) -> None:
    texts = model.transcribe([speech[SHORT][:1], speech[SHORT][:800]], ENGLISH)
    assert all(math.isfinite(text.avg_logprob) for text in texts)


@pytest.mark.parametrize("requests", [15, pytest.param(500, marks=pytest.mark.slow)])
def test_memory_stays_flat(model: Transcriber, speech: Audio, requests: int) -> None:
    clip, greedy, process = speech[SHORT][:SAMPLE_RATE], replace(ENGLISH, beam_size=1), psutil.Process()
    for _ in range(10):
        model.transcribe([clip], greedy)
    before = process.memory_info().rss
    for _ in range(requests):
        model.transcribe([clip], greedy)
    assert process.memory_info().rss - before < 20e6
