"""Speech of the flite synthesiser (Debian's `flite`): three voices unlike espeak's, for variety in training."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.speech import TimedPhone, TimedWord, Utterance

FLITE_VOICES = ("awb", "rms", "slt")
"""Voices trained on; kal is left alone, as it is the speaker of festival's kal, kept for tests."""


@dataclass(frozen=True)
class FliteVoice:
    """A flite voice, how much slower than usual it speaks and its mean pitch in Hz."""

    name: str
    stretch: float
    pitch: float


def available() -> bool:
    """Whether the `flite` command is installed."""
    return shutil.which("flite") is not None


def random_flite_voice(rng: np.random.Generator) -> FliteVoice:
    """One of the trained voices with a random speed and pitch."""
    name = str(rng.choice(FLITE_VOICES))
    middle = 170.0 if name == "slt" else 115.0
    return FliteVoice(name, float(rng.uniform(0.8, 1.25)), middle * float(rng.uniform(0.8, 1.25)))


def say(text: str, voice: FliteVoice) -> Utterance:
    """Speak `text`; word and phoneme times are flite's own segment times."""
    options = {"duration_stretch": voice.stretch, "int_f0_target_mean": voice.pitch}
    settings = [item for key, value in options.items() for item in ("--setf", f"{key}={value:.3f}")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        printed = _flite("-voice", voice.name, *settings, "-psdur", "-t", text, "-o", str(path))
        samples = _read(path)
    phones = _phones(printed)
    return Utterance(samples, _words(text, phones), phones)


def _flite(*arguments: str) -> str:
    return subprocess.run(["flite", *arguments], check=True, capture_output=True, text=True).stdout


def _read(path: Path) -> NDArray[np.float32]:
    """Samples of a 16 kHz mono file of 16-bit integers."""
    with wave.open(str(path)) as file:
        if file.getframerate() != 16_000:
            raise ValueError(f"flite wrote {file.getframerate()} Hz instead of 16,000 Hz")
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


def _phones(printed: str) -> list[TimedPhone]:
    """Parse `name:end name:end …`; pauses are left out."""
    phones, start = [], 0.0
    for name, end in (item.rsplit(":", 1) for item in printed.split()):
        if name != "pau":
            phones.append(TimedPhone(name, start, float(end)))
        start = float(end)
    return phones


@cache
def _dictionary(word: str) -> tuple[str, ...]:
    """The phonemes of a word said alone."""
    return tuple(name for name in _flite("-ps", "-t", word, "-o", "none").split() if name != "pau")


def _words(text: str, phones: list[TimedPhone]) -> list[TimedWord]:
    """Word times: the words' dictionary phonemes are matched with those spoken."""
    words = text.split()
    expected = [phone for word in words for phone in _dictionary(word)]
    place = _places(expected, [phone.text for phone in phones])
    bounds = np.cumsum([0] + [len(_dictionary(word)) for word in words])
    spans = [(place[first], max(place[last], place[first] + 1)) for first, last in pairwise(bounds)]
    return [
        TimedWord(word, phones[first].start, phones[min(last, len(phones)) - 1].end)
        for word, (first, last) in zip(words, spans, strict=True)
        if first < len(phones)
    ]


def _places(expected: list[str], spoken: list[str]) -> list[int]:
    """For each expected phoneme (and the end) its index among those spoken."""
    place = [0] * (len(expected) + 1)
    for _, first, last, start, end in SequenceMatcher(None, expected, spoken, autojunk=False).get_opcodes():
        for index in range(first, last):
            place[index] = min(start + index - first, max(end, start))
    place[-1] = len(spoken)
    return place
