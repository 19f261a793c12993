"""Seeded conversations of several synthetic speakers, with the exact times of their turns and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.speech import SAMPLE_RATE, Synthesizer, TimedWord, Voice
from training.texts import sentence

GAP_S = (0.2, 1.0)
LEVEL_DB = 2.0
PEAK = 0.9


class Turn(NamedTuple):
    """A stretch of one speaker's speech, in seconds."""

    speaker: str
    start: float
    end: float


class SpokenWord(NamedTuple):
    """A word, its start and end in seconds, and who said it."""

    text: str
    start: float
    end: float
    speaker: str


@dataclass
class Conversation:
    """float32 mono samples at 16 kHz with their turns and words, both in order of time."""

    samples: NDArray[np.float32]
    turns: list[Turn] = field(default_factory=list)
    words: list[SpokenWord] = field(default_factory=list)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE


class Spoken(NamedTuple):
    """One turn before it is placed in time: samples from the first word's start, words relative to that."""

    samples: NDArray[np.float32]
    words: list[TimedWord]


@cache
def synthesizer() -> Synthesizer:
    """This process's only synthesizer (espeak-ng keeps global state)."""
    return Synthesizer()


def conversation(
    rng: np.random.Generator, speakers: Sequence[Voice], turns: int, held_out: bool = False
) -> Conversation:
    """Turns of one or two random sentences with gaps of 0.2 to 1 s; every speaker speaks if `turns` allows it."""
    script = [
        (speaker, [sentence(rng, held_out) for _ in range(1 + (rng.random() < 0.3))])
        for speaker in _speaking_order(rng, len(speakers), turns)
    ]
    return perform(rng, speakers, script)


def perform(
    rng: np.random.Generator,
    speakers: Sequence[Voice],
    script: Sequence[tuple[int, Sequence[str]]],
    gap_s: tuple[float, float] = GAP_S,
) -> Conversation:
    """Speak a script of (index of the speaker, sentences); speakers are labelled A, B, C … in order of `speakers`."""
    levels = 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB, len(speakers)) / 20)
    spoken = [(who, speak_turn(rng, texts, speakers[who])) for who, texts in script]
    gaps = rng.uniform(*gap_s, len(spoken) + 1)
    starts = np.cumsum(gaps[:-1] + np.array([0.0, *(len(turn.samples) / SAMPLE_RATE for _, turn in spoken[:-1])]))
    total = round((starts[-1] + len(spoken[-1][1].samples) / SAMPLE_RATE + gaps[-1]) * SAMPLE_RATE)
    result = Conversation(np.zeros(total, np.float32))
    for start, (who, turn) in zip(starts, spoken, strict=True):
        _place(result, turn, round(start * SAMPLE_RATE), chr(ord("A") + who), levels[who])
    result.samples *= PEAK / max(PEAK, float(np.abs(result.samples).max()))
    return result


def speak_turn(rng: np.random.Generator, texts: Sequence[str], voice: Voice) -> Spoken:
    """Say sentences one after the other, 0.15 to 0.4 s apart, cut to the first word's start and the last word's end."""
    pieces: list[NDArray[np.float32]] = []
    words: list[TimedWord] = []
    for text in texts:
        if pieces:
            pieces.append(np.zeros(int(rng.uniform(0.15, 0.4) * SAMPLE_RATE), np.float32))
        said = synthesizer().say(text, voice)
        first, last = round(said.words[0].start * SAMPLE_RATE), round(said.words[-1].end * SAMPLE_RATE)
        shift = (sum(map(len, pieces)) - first) / SAMPLE_RATE
        words += [TimedWord(word.text, word.start + shift, word.end + shift) for word in said.words]
        pieces.append(said.samples[first:last])
    return Spoken(np.concatenate(pieces), words)


def _speaking_order(rng: np.random.Generator, speakers: int, turns: int) -> list[int]:
    """Who speaks when: everybody once, in random order, then anybody but the last speaker."""
    order = rng.permutation(speakers)[:turns].tolist()
    while len(order) < turns:
        others = [who for who in range(speakers) if who != order[-1]] or [order[-1]]
        order.append(int(rng.choice(others)))
    return order


def _place(result: Conversation, turn: Spoken, first: int, speaker: str, level: float) -> None:
    """Add a turn at sample `first`."""
    result.samples[first : first + len(turn.samples)] += np.float32(level) * turn.samples[: len(result.samples) - first]
    at = first / SAMPLE_RATE
    result.words += [SpokenWord(word.text, word.start + at, word.end + at, speaker) for word in turn.words]
    result.turns.append(Turn(speaker, at + turn.words[0].start, at + turn.words[-1].end))
