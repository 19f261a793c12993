"""The transcriber is held to whisperx's own calls on the same clips: the same features, text and log-probability."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio
from whisperx.asr import TranscriptionOptions, WhisperModel
from whisperx.audio import N_SAMPLES, log_mel_spectrogram

from serve_app.config import TranscriptionArgs
from serve_app.errors import UnsupportedOption
from serve_app.models.audio import decode
from serve_app.models.transcriber import Transcriber
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
    ],
)
def test_text_and_log_probability_are_those_of_whisperx(
    ours: Transcriber, theirs: Any, speech: Audio, asked: dict[str, Any]
) -> None:
    clip = speech[3 * SAMPLE_RATE : 13 * SAMPLE_RATE]
    (mine,) = ours.transcribe([clip], DecodeOptions(language="en", **asked))
    wanted = reference(theirs, clip, **asked)
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
    (text,) = ours.transcribe([speech[3 * SAMPLE_RATE : 8 * SAMPLE_RATE]], DecodeOptions("en", temperature=0.4))
    assert text.temperature == 0.4
    assert text.avg_logprob < 0


def test_warming_up_needs_no_speech(ours: Transcriber) -> None:
    ours.warm_up()
