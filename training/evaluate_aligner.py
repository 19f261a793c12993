"""Measure an aligner on held-out voices and sentences: `python -m training.evaluate_aligner demo/models/align`."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import torch
from numpy.typing import NDArray
from whisperx.alignment import align, load_align_model

from training.conversations import Conversation, perform
from training.sounds import Audio, add_noise
from training.speech import HELD_OUT_VARIANTS, SAMPLE_RATE, random_voice
from training.texts import sentence

SEED = 99
Align = Callable[[Audio, str], list[dict[str, Any]]]
Errors = tuple[NDArray[np.float64], NDArray[np.float64]]


def main() -> None:
    """Print the errors of word starts and ends in milliseconds, for clean and for noisy clips, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with_model = load(options.model)
    for name, snr_db in (("clean", None), ("noise at 15 dB", 15.0)):
        starts, ends = errors(with_model, options.clips, snr_db)
        print(json.dumps({"clips": name, "words": len(starts), "start": summary(starts), "end": summary(ends)}))


def load(folder: Path) -> Align:
    """A function from samples and their text to whisperx's words."""
    nltk.data.path.insert(0, str(folder / "nltk_data"))
    model, metadata = load_align_model("en", "cpu", model_name=str(folder), model_cache_only=True)

    def words(samples: Audio, text: str) -> list[dict[str, Any]]:
        whole = {"start": 0.0, "end": len(samples) / SAMPLE_RATE, "text": text}
        return align([whole], model, metadata, samples, "cpu")["word_segments"]

    return words


def errors(words_of: Align, clips: int, snr_db: float | None) -> Errors:
    """Found minus true starts and ends in seconds over all words of the test clips."""
    starts, ends = [], []
    for clip in test_clips(clips, snr_db):
        found = words_of(clip.samples, " ".join(word.text for word in clip.words))
        if len(found) != len(clip.words):
            raise ValueError(f"{len(found)} words came back for {len(clip.words)}")
        starts += [word["start"] - true.start for word, true in zip(found, clip.words, strict=True)]
        ends += [word["end"] - true.end for word, true in zip(found, clip.words, strict=True)]
    return np.array(starts), np.array(ends)


def test_clips(count: int, snr_db: float | None) -> Iterator[Conversation]:
    """One to four held-out sentences of one held-out voice, 0.1 to 0.8 s apart."""
    rng, noise = np.random.default_rng(SEED), np.random.default_rng(SEED)
    for _ in range(count):
        voice = random_voice(rng, HELD_OUT_VARIANTS)
        script = [(0, [sentence(rng, held_out=True)]) for _ in range(int(rng.integers(1, 5)))]
        clip = perform(rng, [voice], script, (0.1, 0.8))
        if snr_db is not None:
            clip.samples = add_noise(noise, clip.samples, snr_db)
        yield clip


def summary(seconds: NDArray[np.float64]) -> dict[str, int]:
    """Median and 90th percentile of the size of the errors, and their mean (the bias), in milliseconds."""
    size = np.abs(seconds)
    values = {"median": np.median(size), "p90": np.percentile(size, 90), "p99": np.percentile(size, 99)}
    return {name: round(1000 * float(value)) for name, value in (values | {"bias": np.median(seconds)}).items()}


if __name__ == "__main__":
    main()
