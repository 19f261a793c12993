"""Sounds that are not speech, and what rooms, lines and noise do to speech. Float32 mono at 16 kHz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import fftconvolve

from training.speech import SAMPLE_RATE

Audio = NDArray[np.float32]
COLOURS = {"white": 0.0, "pink": 0.5, "brown": 1.0}
"""Noise colours: by how much amplitude falls with frequency, f ** -exponent."""


def noise(rng: np.random.Generator, count: int, exponent: float = 0.0) -> Audio:
    """`count` samples of noise with an RMS of 1 whose amplitude falls as f ** -exponent above 20 Hz."""
    length = next_fast_len(count)
    white = rng.standard_normal(length, dtype=np.float32)
    if exponent:
        frequency = np.maximum(rfftfreq(length, 1 / SAMPLE_RATE), 20.0).astype(np.float32)
        white = irfft(rfft(white) * frequency ** np.float32(-exponent), length)
    white = white[:count]
    return white / (np.sqrt(np.mean(white**2)) + 1e-9)


def tone(count: int, frequency: float) -> Audio:
    """A sine."""
    return np.sin(2 * np.pi * frequency * np.arange(count) / SAMPLE_RATE).astype(np.float32)


def sweep(count: int, low: float, high: float) -> Audio:
    """A sine whose frequency goes from `low` to `high` Hz, evenly in octaves."""
    frequency = low * (high / low) ** (np.arange(count) / max(count, 1))
    return np.sin(2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE).astype(np.float32)


def hum(rng: np.random.Generator, count: int) -> Audio:
    """Mains hum: 50 or 60 Hz with overtones."""
    base = float(rng.choice([50.0, 60.0])) * float(rng.choice([1, 2]))
    parts = [tone(count, base * k) * rng.uniform(0.2, 1.0) / k for k in range(1, int(rng.integers(3, 12)))]
    return np.sum(parts, axis=0).astype(np.float32)


def clicks(rng: np.random.Generator, count: int) -> Audio:
    """Short decaying bursts, some per second."""
    out = np.zeros(count, np.float32)
    for start in rng.integers(0, count, max(1, int(count / SAMPLE_RATE * rng.uniform(0.5, 8)))):
        length = min(int(rng.integers(16, 800)), count - int(start))
        burst = rng.standard_normal(length, dtype=np.float32) * np.exp(-np.arange(length) / (length / 5 + 1))
        out[start : start + length] += burst.astype(np.float32)
    return out


def chords(rng: np.random.Generator, count: int) -> Audio:
    """Something like music: chords of decaying harmonic notes, changing every so often."""
    out = np.zeros(count, np.float32)
    step = int(rng.uniform(0.15, 1.0) * SAMPLE_RATE)
    for start in range(0, count, step):
        length = min(int(step * 1.3), count - start)
        fade = np.exp(-np.arange(length) / (rng.uniform(0.2, 1.5) * SAMPLE_RATE)).astype(np.float32)
        for note in rng.choice(np.arange(36, 84), int(rng.integers(1, 5)), replace=False):
            out[start : start + length] += _note(rng, length, 440.0 * 2 ** ((int(note) - 69) / 12)) * fade
    return out


def _note(rng: np.random.Generator, count: int, frequency: float) -> Audio:
    overtones = [tone(count, frequency * k) * rng.uniform(0.1, 1.0) / k for k in range(1, 6) if frequency * k < 7500]
    return np.sum(overtones, axis=0).astype(np.float32)


def not_speech(rng: np.random.Generator, count: int) -> Audio:
    """Silence, noise, a tone, hum, clicks, a sweep, chords or breathing noise, at a random level."""
    kind = rng.integers(10)
    if kind == 0:
        return np.zeros(count, np.float32)
    if kind <= 3:
        sound = noise(rng, count, float(rng.uniform(0, 1)))
    elif kind == 4:
        sound = tone(count, float(np.exp(rng.uniform(np.log(60), np.log(7000)))))
    elif kind == 5:
        sound = hum(rng, count)
    elif kind == 6:
        sound = clicks(rng, count)
    elif kind == 7:
        low, high = np.exp(rng.uniform(np.log(80), np.log(7500), 2))
        sound = np.resize(sweep(int(rng.uniform(0.1, 1) * count) + 1, float(low), float(high)), count)
    elif kind == 8:
        sound = chords(rng, count)
    else:
        sound = noise(rng, count, float(rng.uniform(0, 1))) * _bursts(rng, count)
    level = 10 ** (rng.uniform(-60, -3) / 20)
    hiss = noise(rng, count) * level * 10 ** (rng.uniform(-60, -20) / 20) * (rng.random() < 0.5)
    return (sound / (np.abs(sound).max() + 1e-9) * level + hiss).astype(np.float32)


def _bursts(rng: np.random.Generator, count: int) -> Audio:
    """An envelope that swells and fades a few times a second."""
    knots = rng.uniform(0, 1, max(2, int(count / SAMPLE_RATE * rng.uniform(1, 10)))) ** 2
    return np.interp(np.arange(count), np.linspace(0, count, len(knots)), knots).astype(np.float32)


def add_noise(rng: np.random.Generator, speech: Audio, decibel: float) -> Audio:
    """Speech with coloured noise at a signal-to-noise ratio in dB."""
    level = np.sqrt(np.mean(speech**2)) * 10 ** (-decibel / 20)
    return speech + noise(rng, len(speech), float(rng.uniform(0, 1))) * np.float32(level)


def reverberate(rng: np.random.Generator, speech: Audio) -> Audio:
    """Speech in a room: convolved with a random decaying tail."""
    length = int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
    tail = rng.standard_normal(length) * np.exp(-5.0 * np.arange(length) / length) * rng.uniform(0.02, 0.12)
    tail[0] = 1.0
    return fftconvolve(speech, tail)[: len(speech)].astype(np.float32)


def tilt(rng: np.random.Generator, speech: Audio) -> Audio:
    """Speech through a microphone or a line: a gentle random first-order filter."""
    coefficient = np.float32(rng.uniform(-0.5, 0.7))
    out = speech.copy()
    out[1:] -= coefficient * speech[:-1]
    return out


def stretch(speech: Audio, factor: float) -> Audio:
    """Speech played `factor` times slower, so with a longer and deeper voice."""
    count = int(len(speech) * factor)
    return np.interp(np.arange(count) / factor, np.arange(len(speech)), speech).astype(np.float32)
