"""Training clips for the aligner: sentences with pauses, and for each frame what is spoken in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import flite
from training.acoustics import worsen
from training.aligner_model import BLANK, SPACE, VOCABULARY, frames_of
from training.conversations import synthesizer
from training.speech import SAMPLE_RATE, TRAIN_VARIANTS, TimedPhone, TimedWord, Utterance, Voice, random_voice
from training.texts import random_words, sentence

IGNORE = -100
LENGTHS_S = (2.5, 4.0, 6.0, 8.0, 12.0, 18.0)
FLITE_SHARE = 0.12


@dataclass
class Clip:
    """Samples with what is said in them, and when."""

    samples: NDArray[np.float32]
    text: list[str] = field(default_factory=list)
    words: list[TimedWord] = field(default_factory=list)
    phones: list[TimedPhone] = field(default_factory=list)


@dataclass
class Batch:
    """Clips of one length: samples (batch, time); the others (batch, frames), or flat for the CTC targets."""

    samples: Tensor
    targets: Tensor
    target_lengths: Tensor
    boundaries: Tensor
    phones: Tensor

    @property
    def seconds(self) -> float:
        """Seconds of audio in all."""
        return self.samples.numel() / SAMPLE_RATE


class Clips:
    """Makes batches without end. `phones` maps each phoneme seen in a first look at the voices to its number."""

    def __init__(self, seed: int, flite: Sequence[tuple[str, Utterance]] = ()) -> None:
        self._rng = np.random.default_rng(seed)
        self._flite = flite
        self.phones = self._count_phones()

    def batch(self, seconds: float = 96.0) -> Batch:
        """About `seconds` of audio in clips of one random length."""
        length = float(self._rng.choice(LENGTHS_S))
        return collate([self.clip(length) for _ in range(round(seconds / length))], self.phones)

    def clip(self, seconds: float) -> Clip:
        """One voice (rarely flite's) saying as much as fits, with noise and echo now and then."""
        other = self._flite and self._rng.random() < FLITE_SHARE
        voice = None if other else random_voice(self._rng, TRAIN_VARIANTS)
        clip = fill(self._rng, seconds, lambda: self._say(voice))
        clip.samples = worsen(self._rng, clip.samples)
        return clip

    def _say(self, voice: Voice | None) -> tuple[str, Utterance]:
        if voice is None:
            return self._flite[self._rng.integers(len(self._flite))]
        few = self._rng.random() < 0.25
        text = random_words(self._rng, int(self._rng.integers(1, 8))) if few else sentence(self._rng)
        return text, synthesizer().say(text, voice)

    def _count_phones(self) -> dict[str, int]:
        said = [self._say(random_voice(self._rng, TRAIN_VARIANTS))[1] for _ in range(800)]
        names = sorted({phone.text for utterance in said for phone in utterance.phones})
        return {name: i + 1 for i, name in enumerate(names)}


def flite_utterances(seed: int, count: int) -> list[tuple[str, Utterance]]:
    """Texts of the training share with flite's speech; empty if flite is not installed."""
    if not flite.available():
        return []
    rng = np.random.default_rng(seed)
    texts = [sentence(rng) for _ in range(count)]
    return [(text, flite.say(text, flite.random_flite_voice(rng))) for text in texts]


def fill(rng: np.random.Generator, seconds: float, say: Callable[[], tuple[str, Utterance]]) -> Clip:
    """Place what `say()` returns one after another, up to 0.64 s apart, as long as it fits."""
    clip = Clip(np.zeros(round(seconds * SAMPLE_RATE), np.float32))
    at, misses = rng.uniform(0, 0.6), 0
    while misses < 3:
        text, said = say()
        if at + len(said.samples) / SAMPLE_RATE > seconds:
            misses += 1
            continue
        _place(clip, text, said, at)
        at += len(said.samples) / SAMPLE_RATE + rng.uniform(0.02, 0.8) ** 2
    return clip


def collate(clips: Sequence[Clip], phones: dict[str, int]) -> Batch:
    """Stack clips of one length and label their frames."""
    spelled = [[VOCABULARY[c] for word in clip.text for c in f"{word}|"] for clip in clips]
    return Batch(
        samples=torch.from_numpy(np.stack([clip.samples for clip in clips])),
        targets=torch.tensor([c for word in spelled for c in word]),
        target_lengths=torch.tensor([len(word) for word in spelled]),
        boundaries=torch.from_numpy(np.stack([boundary_labels(clip) for clip in clips])),
        phones=torch.from_numpy(np.stack([phone_labels(clip, phones) for clip in clips])),
    )


def boundary_labels(clip: Clip) -> NDArray[np.int64]:
    """Per frame: a word's first and last character, the space right after it, blank in pauses; else IGNORE.

    Frame numbers are counted as the aligner's reader counts them: time x frames / duration. A character lasts until
    the next is seen, so a word ends where its space is seen: the space belongs to the first frame after the word, or,
    when the next word follows at once, to the frame before that word's first.
    """
    count = frames_of(len(clip.samples))
    rate = count / (len(clip.samples) / SAMPLE_RATE)
    starts = [min(round(word.start * rate), count - 1) for word in clip.words]
    ends = [round(word.end * rate) for word in clip.words]
    labels = np.full(count, BLANK)
    for word, start, end, following in zip(clip.words, starts, ends, [*starts, count][1:], strict=True):
        _label_word(labels, word.text, start, min(end, following - 1))
    return labels


def phone_labels(clip: Clip, phones: dict[str, int]) -> NDArray[np.int64]:
    """Per frame: the number of its phoneme, 0 in pauses."""
    count = frames_of(len(clip.samples))
    rate = count / (len(clip.samples) / SAMPLE_RATE)
    labels = np.zeros(count, np.int64)
    for phone in clip.phones:
        labels[round(phone.start * rate) : round(phone.end * rate)] = phones.get(phone.text, IGNORE)
    return labels


def _label_word(labels: NDArray[np.int64], text: str, start: int, space: int) -> None:
    labels[start : max(space, start + 1)] = IGNORE
    if len(text) > 1 and space - 1 > start:
        labels[space - 1] = VOCABULARY[text[-1]]
    if start < space < len(labels):
        labels[space] = SPACE
    labels[start] = VOCABULARY[text[0]]


def _place(clip: Clip, text: str, said: Utterance, at: float) -> None:
    first = round(at * SAMPLE_RATE)
    clip.samples[first : first + len(said.samples)] += said.samples[: len(clip.samples) - first]
    clip.text += text.split()
    clip.words += [TimedWord(word.text, word.start + at, word.end + at) for word in said.words]
    clip.phones += [TimedPhone(phone.text, phone.start + at, phone.end + at) for phone in said.phones]
