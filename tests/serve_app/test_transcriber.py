"""The transcriber is held to whisperx's own calls on the same clips: the same features, text and log-probability."""

import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio
from whisperx.asr import TranscriptionOptions, WhisperModel, find_numeral_symbol_tokens
from whisperx.audio import N_SAMPLES, log_mel_spectrogram

from serve_app import quality
from serve_app.config import TranscriptionArgs
from serve_app.errors import UnsupportedOption
from serve_app.models.audio import decode
from serve_app.models.transcribers.on_ctranslate2 import FORCED_TOKENS
from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper as Transcriber
from serve_app.options import DecodeOptions
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

ARGS = TranscriptionArgs(model="demo-whisper", device="cpu", compute_type="float32")
"""Not int8: there, features that differ by 1e-5 may round apart, and move a log-probability by a hundredth."""
ENGLISH = DecodeOptions(language="en")
WHISPERX = {
    **{"beam_size": 5, "best_of": 5, "patience": 1, "length_penalty": 1, "repetition_penalty": 1},
    **{"no_repeat_ngram_size": 0, "log_prob_threshold": -1.0, "no_speech_threshold": 0.6},
    **{"compression_ratio_threshold": 2.4, "condition_on_previous_text": False, "prompt_reset_on_temperature": 0.5},
    **{"temperatures": [0.0], "initial_prompt": None, "prefix": None, "suppress_blank": True},
    **{"suppress_tokens": [-1], "without_timestamps": True, "max_initial_timestamp": 0.0, "word_timestamps": False},
    **{"prepend_punctuations": "", "append_punctuations": "", "multilingual": False, "max_new_tokens": None},
    **{"clip_timestamps": "0", "hallucination_silence_threshold": None, "hotwords": None},
}
"""The options of `whisperx.load_model`, written out: it would fetch a VAD model along with them."""


@pytest.fixture(scope="module")
def ours(demo_models: Path) -> Transcriber:
    return Transcriber(demo_models / "whisper", ARGS, ["en"], 1)


@pytest.fixture(scope="module")
def theirs(demo_models: Path) -> Any:
    return WhisperModel(str(demo_models / "whisper"), device="cpu", compute_type="float32", cpu_threads=1)


@pytest.fixture(scope="module")
def speech(data: Path) -> Audio:
    return decode((data / "two_minutes.flac").read_bytes())


def clips(speech: Audio) -> Iterator[Audio]:
    """Voiced clips of every length that matters: very short, odd, just under 30 s, 30 s."""
    dice = random.Random(3)
    near_full = [N_SAMPLES - step for step in (0, 1, 159, 161, 200, 399, 401)]
    for length in [401, 1600, 8_001, 5 * SAMPLE_RATE, *near_full]:
        start = dice.randrange(4 * SAMPLE_RATE, 8 * SAMPLE_RATE)
        yield speech[start : start + length]


def reference_features(clip: Audio, n_mels: int) -> np.ndarray:
    features = log_mel_spectrogram(clip.copy(), n_mels=n_mels, padding=N_SAMPLES - len(clip))
    return np.asarray(features)


def reference(model: Any, clip: Audio, **options: Any) -> dict[str, Any]:
    """What whisperx makes of one clip."""
    tokenizer = Tokenizer(model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en")
    features = reference_features(clip, model.feat_kwargs.get("feature_size") or 80)[None]
    made = model.generate_segment_batched(features, tokenizer, TranscriptionOptions(**{**WHISPERX, **options}))
    return {"text": made["text"][0], "avg_logprob": made["avg_logprob"][0]}


def test_features_are_those_of_whisperx_on_the_padded_clip(ours: Transcriber, speech: Audio) -> None:
    for clip in clips(speech):
        features = ours._features(clip)
        wanted = reference_features(clip, features.shape[0])
        assert features.shape == wanted.shape
        assert np.abs(features - wanted).max() <= 1e-4, len(clip)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1e-3])
def test_features_of_silence_and_near_silence_are_those_of_whisperx(ours: Transcriber, level: float) -> None:
    clip = (level * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)
    features = ours._features(clip)
    assert np.abs(features - reference_features(clip, features.shape[0])).max() <= 1e-4


def test_what_is_longer_than_a_window_is_left_out(ours: Transcriber, speech: Audio) -> None:
    np.testing.assert_array_equal(ours._features(speech[: 2 * N_SAMPLES]), ours._features(speech[:N_SAMPLES]))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"beam_size": 2},
        {"initial_prompt": "The cat sees the laptop."},
        {"hotwords": "garden, letter"},
        {"initial_prompt": "The cat sees the laptop.", "hotwords": "garden, letter"},
        {"beam_size": 3, "patience": 2.0},
        {"length_penalty": 0.5},
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 1},
        {"suppress_blank": False},
        {"suppress_tokens": (-1, 755)},
    ],
)
def test_text_and_log_probability_are_those_of_whisperx(
    ours: Transcriber, theirs: Any, speech: Audio, asked: dict[str, Any]
) -> None:
    clip = speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]
    (mine,) = ours.transcribe([clip], DecodeOptions(language="en", **asked))
    theirs_asked = {key: list(value) if isinstance(value, tuple) else value for key, value in asked.items()}
    wanted = reference(theirs, clip, **theirs_asked)
    assert mine.text == wanted["text"]
    assert mine.text.strip()
    assert mine.avg_logprob == pytest.approx(wanted["avg_logprob"], abs=1e-4)


def test_a_batch_gives_what_its_clips_give_alone(ours: Transcriber, speech: Audio) -> None:
    parts = [speech[start * SAMPLE_RATE : (start + 6) * SAMPLE_RATE] for start in (3, 12, 35)]
    together = ours.transcribe(parts, ENGLISH)
    alone = [ours.transcribe([part], ENGLISH)[0] for part in parts]
    assert [each.text for each in together] == [each.text for each in alone]
    assert len({each.text for each in together}) == 3
    for one, other in zip(together, alone, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)


def test_figures_belong_to_the_text(ours: Transcriber, speech: Audio) -> None:
    (text,) = ours.transcribe([speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]], ENGLISH)
    assert (text.language, text.temperature) == ("en", 0.0)
    assert text.avg_logprob < 0
    assert 0 <= text.no_speech_prob <= 1
    assert text.compression_ratio == pytest.approx(get_compression_ratio(text.text))
    assert len(text.token_ends) == len(text.tokens) > 0
    assert list(text.token_ends) == sorted(text.token_ends)
    assert text.token_ends[-1] == len(text.text)


def test_tokens_are_those_of_the_text(ours: Transcriber, theirs: Any, speech: Audio) -> None:
    (text,) = ours.transcribe([speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]], ENGLISH)
    assert theirs.hf_tokenizer.decode(list(text.tokens)) == text.text


def test_the_only_language_is_taken_without_detection(ours: Transcriber, speech: Audio) -> None:
    clip = speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]
    assert ours.transcribe([clip], DecodeOptions()) == ours.transcribe([clip], ENGLISH)


def test_a_language_that_the_snapshot_lacks_is_refused(ours: Transcriber, speech: Audio) -> None:
    with pytest.raises(UnsupportedOption, match="does not hear language 'de', only: en") as caught:
        ours.transcribe([speech[:SAMPLE_RATE]], DecodeOptions(language="de"))
    assert caught.value.param == "language"


def test_sampling_tells_its_temperature(ours: Transcriber, speech: Audio) -> None:
    (text,) = ours.transcribe([speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]], ENGLISH, 0.4)
    assert text.temperature == 0.4
    assert text.avg_logprob < 0


def test_without_a_temperature_the_options_first_is_taken(ours: Transcriber, speech: Audio) -> None:
    clip = speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]
    (text,) = ours.transcribe([clip], DecodeOptions("en", temperatures=(0.6, 1.0), best_of=1))
    assert text.temperature == 0.6


def test_the_likeliest_of_several_samples_is_kept(ours: Transcriber, speech: Audio) -> None:
    clips = [speech[13 * SAMPLE_RATE : 41 * SAMPLE_RATE]] * 4
    means = []
    for best_of in (1, 8):
        texts = ours.transcribe(clips, replace(ENGLISH, best_of=best_of), 1.0)
        means.append(np.mean([text.avg_logprob for text in texts]))
    assert means[1] > means[0]


def test_numerals_are_written_out(ours: Transcriber, theirs: Any) -> None:
    tokenizer = Tokenizer(theirs.hf_tokenizer, multilingual=True, task="transcribe", language="en")
    found = ours._limits(DecodeOptions(suppress_numerals=True))["suppress_tokens"]
    assert found == [-1, *find_numeral_symbol_tokens(tokenizer)]
    assert {tokenizer.decode([token]) for token in found[1:]} >= set("0123456789")
    assert ours._limits(DecodeOptions())["suppress_tokens"] == [-1]


def test_a_suppressed_token_is_never_written(ours: Transcriber, speech: Audio) -> None:
    clip = speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]
    (text,) = ours.transcribe([clip], ENGLISH)
    (other,) = ours.transcribe([clip], replace(ENGLISH, suppress_tokens=(-1, text.tokens[0])))
    assert text.tokens[0] not in other.tokens


def test_an_endless_prompt_leaves_room_for_the_text(ours: Transcriber, speech: Audio) -> None:
    clip = speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]
    for hotwords in ("garden " * 100, "garden " * 1000):
        asked = DecodeOptions("en", initial_prompt="The cat sees the laptop. " * 500, hotwords=hotwords)
        assert len(ours._prompt(ours._tokenizer("en", "transcribe"), asked)) <= 224 + 4
        assert ours.transcribe([clip], asked)


def test_translation_asks_for_the_translate_token(ours: Transcriber, speech: Audio) -> None:
    tokenizer = ours._tokenizer("en", "translate")
    assert ours._prompt(tokenizer, DecodeOptions()) == [tokenizer.sot, tokenizer.language, tokenizer.translate, 877]
    (text,) = ours.transcribe([speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]], DecodeOptions("en", "translate"))
    assert text.text.strip()


def test_a_model_without_a_translate_token_refuses(ours: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoTranslation:
        def token_to_id(self, token: str) -> int | None:
            return None if token == "<|translate|>" else 1

    monkeypatch.setattr(ours._model, "hf_tokenizer", NoTranslation())
    with pytest.raises(UnsupportedOption, match="cannot translate; use one that is multilingual") as caught:
        ours.transcribe([np.zeros(SAMPLE_RATE, np.float32)], DecodeOptions("en", "translate"))
    assert caught.value.param == "model"


def test_silence_and_noise_pass_the_gate_without_words_and_speech_at_the_first_try(
    ours: Transcriber, speech: Audio, data: Path
) -> None:
    noise = [decode((data / f"{name}.flac").read_bytes()) for name in ("silence", "noise", "tones")]
    spoken = [speech[start * SAMPLE_RATE : (start + 8) * SAMPLE_RATE] for start in (3, 33, 63)]
    texts = ours.transcribe([*noise, *spoken], ENGLISH)
    assert [bool(text.text.strip()) for text in texts] == [False] * 3 + [True] * 3
    assert all(quality.judge(text, ENGLISH) == quality.Verdict() for text in texts)
    assert min(text.no_speech_prob for text in texts[:3]) > 0.6 > max(text.no_speech_prob for text in texts[3:])


@pytest.fixture(scope="module")
def polyglot(demo_models: Path) -> Transcriber:
    """The demo model, taken at its word that it hears four languages."""
    args = TranscriptionArgs(model="demo-whisper", device="cpu", compute_type="int8", beam_size=2)
    return Transcriber(demo_models / "whisper", args, ["de", "en", "fr"], 1)


def test_languages_are_those_of_the_snapshot_and_sum_to_one(polyglot: Transcriber, speech: Audio) -> None:
    rows = polyglot.detect([speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE], np.zeros(SAMPLE_RATE, np.float32)])
    assert all(set(row) == {"de", "en", "fr"} and sum(row.values()) == pytest.approx(1) for row in rows)
    assert max(rows[0], key=rows[0].__getitem__) == "en"
    assert rows[0]["en"] > 0.9


def test_an_only_language_is_certain(ours: Transcriber) -> None:
    assert ours.detect([np.zeros(SAMPLE_RATE, np.float32)] * 2) == [{"en": 1.0}] * 2


def test_windows_of_several_languages_are_decoded_each_in_its_own(
    polyglot: Transcriber, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [speech[start * SAMPLE_RATE : (start + 5) * SAMPLE_RATE] for start in (3, 33, 63)]
    alone = [
        polyglot.transcribe([clip], DecodeOptions(code))[0]
        for clip, code in zip(clips, ["en", "de", "en"], strict=True)
    ]
    heard = [{"en": 0.9, "de": 0.1}, {"en": 0.2, "de": 0.8}, {"en": 0.6, "de": 0.4}]
    monkeypatch.setattr(polyglot, "_heard", lambda encoded, count: heard)
    assert polyglot.transcribe(clips, DecodeOptions()) == alone
    assert [text.language for text in alone] == ["en", "de", "en"]


@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_window_gives_the_same_tokens_whatever_else_is_in_its_batch(
    polyglot: Transcriber, speech: Audio, beam_size: int
) -> None:
    dice = random.Random(beam_size)
    lengths = [0.3, 1, 3, 6, 8, 12, 30]
    starts = [dice.randrange(0, len(speech) - int(30 * SAMPLE_RATE)) for _ in lengths]
    clips = [speech[at : at + int(s * SAMPLE_RATE)] for at, s in zip(starts, lengths, strict=True)]
    asked = DecodeOptions("en", beam_size=beam_size)
    alone = [polyglot.transcribe([clip], asked)[0] for clip in clips]
    for size in (2, 5, 7):
        order = dice.sample(range(len(clips)), len(clips))
        for batch in (order[at : at + size] for at in range(0, len(order), size)):
            texts = polyglot.transcribe([clips[place] for place in batch], asked)
            assert texts == [alone[place] for place in batch]


def test_two_threads_decode_at_once_and_get_what_one_gets(polyglot: Transcriber, speech: Audio) -> None:
    clips = [speech[start * SAMPLE_RATE : (start + 5) * SAMPLE_RATE] for start in (3, 33, 63, 93)]
    alone = [polyglot.transcribe([clip], ENGLISH) for clip in clips]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda clip: polyglot.transcribe([clip], ENGLISH), clips)) == alone


@pytest.mark.parametrize("asked", [{}, {"initial_prompt": "The cat sees the laptop.", "hotwords": "garden"}])
def test_token_log_probabilities_are_the_decoders_own_among_text_tokens(
    ours: Transcriber, speech: Audio, asked: dict[str, Any]
) -> None:
    clip = speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]
    greedy = DecodeOptions("en", beam_size=1, token_probs=True, **asked)
    silence, text = ours.transcribe([np.zeros(SAMPLE_RATE, np.float32), clip], greedy)
    assert (silence.tokens, silence.token_logprobs) == ((), ())
    prompt = ours._prompt(ours._tokenizer("en", "transcribe"), greedy)
    (made,) = ours._model.model.generate(ours._encode([clip]), [prompt], beam_size=1, return_logits_vocab=True)
    for token, logprob, step in zip(text.tokens, text.token_logprobs, made.logits[0], strict=False):
        logits = np.asarray(step, np.float64).ravel()[:866]
        assert logprob == pytest.approx(
            logits[token] - logits.max() - math.log(np.exp(logits - logits.max()).sum()), abs=1e-4
        )
    assert len(text.token_logprobs) == len(text.tokens) > 0


def test_an_empty_greedy_text_has_a_log_probability(ours: Transcriber, speech: Audio) -> None:
    lengths = (0.05, 0.1, 0.2, 0.3)
    clips = [speech[at * SAMPLE_RATE :][: int(s * SAMPLE_RATE)] for at in (5, 50, 99) for s in lengths]
    texts = ours.transcribe(clips, DecodeOptions("en", beam_size=1))
    assert any(not text.tokens for text in texts)
    assert all(math.isfinite(text.avg_logprob) for text in texts)


def test_token_log_probabilities_cost_nothing_unasked(ours: Transcriber, speech: Audio) -> None:
    assert ours.transcribe([speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]], ENGLISH)[0].token_logprobs == ()


def test_a_forced_batch_is_as_long_as_its_size_says(ours: Transcriber, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[list[int]] = []
    real = ours._model.model.generate

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def generate(self, *args: Any, **options: Any) -> Any:
            results = real(*args, **options)
            made.append([len(result.sequences_ids[0]) for result in results])
            return results

    model = ours._model.model
    monkeypatch.setattr(ours._model, "model", Counting())
    ours.forced(3)
    assert made == [[FORCED_TOKENS] * 3]


def test_warming_up_needs_no_speech(ours: Transcriber) -> None:
    ours.warm_up()
