"""Windows of speech as the service cuts them: some utterances, pauses, noise; with every word's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from training import sounds, texts
from training.sounds import Audio
from training.speech import SAMPLE_RATE, Synthesizer, TimedPhone, TimedWord, Utterance, random_voice

LONGEST_S = 12.5


@dataclass
class Window:
    """Content of a window, without the padding to 30 s: samples, words and phonemes with times in the window."""

    samples: Audio
    words: list[TimedWord]
    phones: list[TimedPhone]


Speaker = Callable[[], Utterance]
Timed = TypeVar("Timed", TimedWord, TimedPhone)


class WindowMaker:
    """Makes training windows from one seeded generator; `pool` are utterances of other synthesisers to mix in."""

    def __init__(self, seed: int, pool: Sequence[Utterance] = ()) -> None:
        self._rng = np.random.default_rng(seed)
        self._synthesizer = Synthesizer()
        self._pool = pool

    def make(self) -> Window:
        """A window: 4 % without speech, 30 % short (one utterance), the rest filled up to a random length."""
        kind = self._rng.random()
        if kind < 0.04:
            seconds = self._rng.uniform(0.3, LONGEST_S)
            return Window(sounds.not_speech(self._rng, int(seconds * SAMPLE_RATE)), [], [])
        target = 0.0 if kind < 0.34 else self._rng.uniform(3.0, LONGEST_S)
        return self._worsen(self._cut(self._fill(target)))

    def _fill(self, target: float) -> Window:
        """Utterances and pauses, at least one, as long as they fit into `target` seconds."""
        speaker = self._speaker()
        window = _append(Window(np.zeros(0, np.float32), [], []), self._lead(), speaker())
        while True:
            longer = _append(window, self._pause(), speaker())
            if len(longer.samples) > target * SAMPLE_RATE:
                return window
            window = longer
            if self._rng.random() < 0.08:
                speaker = self._speaker()

    def _speaker(self) -> Speaker:
        """A function that says another sentence in the same voice each time."""
        slower = self._rng.uniform(0.88, 1.14) if self._rng.random() < 0.5 else 1.0
        if self._pool and self._rng.random() < 0.12:
            return lambda: _slow_down(self._pool[self._rng.integers(len(self._pool))], slower)
        voice = random_voice(self._rng)
        loudness = np.float32(10 ** (self._rng.uniform(-12, 0) / 20))
        return lambda: _slow_down(self._synthesizer.say(self._text(), voice), slower, loudness)

    def _text(self) -> str:
        kind = self._rng.random()
        if kind < 0.72:
            return texts.sentence(self._rng)
        if kind < 0.92:
            return texts.random_words(self._rng, int(self._rng.integers(2, 10)))
        return texts.random_words(self._rng, int(self._rng.integers(1, 3)))

    def _lead(self) -> float:
        return float(self._rng.uniform(0.0, 0.6) ** 2 + self._rng.uniform(0, 0.1))

    def _pause(self) -> float:
        return float(self._rng.uniform(0.05, 1.0) ** 1.5)

    def _cut(self, window: Window) -> Window:
        """At times begin or end in the middle of a sentence, as when speech has no silence to cut at."""
        words = window.words
        first, lost = (int(self._rng.integers(1, 3)) * (self._rng.random() < 0.06) * (len(words) > 5) for _ in "ab")
        last = len(words) - lost
        start = words[first].start if first else 0.0
        end = words[last - 1].end if last < len(words) else len(window.samples) / SAMPLE_RATE
        samples = window.samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        phones = [phone for phone in window.phones if start <= phone.start and phone.end <= end + 1e-3]
        return Window(samples, moved(words[first:last], -start), moved(phones, -start))

    def _worsen(self, window: Window) -> Window:
        """Some room, a microphone, trailing silence and noise."""
        rng = self._rng
        trail = np.zeros(int(rng.uniform(0, 0.7) ** 2 * SAMPLE_RATE), np.float32)
        samples = np.concatenate([window.samples, trail])
        if rng.random() < 0.12:
            samples = sounds.reverberate(rng, samples)
        if rng.random() < 0.3:
            samples = sounds.tilt(rng, samples)
        if rng.random() < 0.45:
            samples = sounds.add_noise(rng, samples, float(rng.uniform(8, 45)))
        samples = samples * np.float32(10 ** (rng.uniform(-25, 0) / 20) / (np.abs(samples).max() + 1e-6))
        return replace(window, samples=np.rint(samples * 32767).astype(np.float32) / 32768)


def _append(window: Window, pause: float, utterance: Utterance) -> Window:
    """The window with a pause and an utterance after it."""
    silence = np.zeros(int(pause * SAMPLE_RATE), np.float32)
    offset = (len(window.samples) + len(silence)) / SAMPLE_RATE
    samples = np.concatenate([window.samples, silence, utterance.samples])
    words = window.words + moved(utterance.words, offset)
    return Window(samples, words, window.phones + moved(utterance.phones, offset))


def _slow_down(utterance: Utterance, factor: float, loudness: float = 1.0) -> Utterance:
    """The utterance played slower, so with a longer throat, and softer."""
    samples = sounds.stretch(utterance.samples, factor) * np.float32(loudness)
    return Utterance(samples, moved(utterance.words, 0, factor), moved(utterance.phones, 0, factor))


def moved(items: list[Timed], seconds: float, factor: float = 1.0) -> list[Timed]:
    """Words or phonemes with times multiplied by `factor`, then `seconds` later."""
    return [replace(item, start=item.start * factor + seconds, end=item.end * factor + seconds) for item in items]
