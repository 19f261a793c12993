"""Whisper's log-mel features of a window's content; all the padding up to 30 s has one value, the floor."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]
HOP, FFT, MELS = 160, 400, 80
SPAN = 2.0
"""Whisper keeps 8 decades of power below the loudest frame; divided by 4 that is a span of 2."""


@cache
def _filters() -> Floats:
    """Mel filters, shape (201, 80)."""
    from faster_whisper.feature_extractor import FeatureExtractor

    return np.ascontiguousarray(FeatureExtractor.get_mel_filters(16_000, FFT, MELS).T, np.float32)


@cache
def _fourier() -> Floats:
    """The Hann-windowed Fourier transform as a matrix, shape (400, 402): for few frames it beats the fast one."""
    angle = 2 * np.pi * np.outer(np.arange(FFT), np.arange(FFT // 2 + 1)) / FFT
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT) / FFT)
    return (np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * window[:, None]).astype(np.float32)


def log_mel(samples: Floats) -> tuple[Floats, float]:
    """Features of shape (frames, 80) and the floor, exactly as Whisper has them once padded with zeros to 30 s."""
    padded = np.concatenate([samples[FFT // 2 : 0 : -1], samples, np.zeros(3 * HOP + FFT // 2, np.float32)])
    parts = sliding_window_view(padded, FFT)[::HOP][: len(samples) // HOP + 3] @ _fourier()
    power = parts[:, : FFT // 2 + 1] ** 2 + parts[:, FFT // 2 + 1 :] ** 2
    logs = np.log10(np.maximum(power @ _filters(), 1e-10))
    lowest = max(float(logs.max()) - 8.0, -10.0)
    return (np.maximum(logs, lowest) + 4.0) / 4.0, (lowest + 4.0) / 4.0


def to_bytes(features: Floats, floor: float) -> NDArray[np.uint8]:
    """Features as bytes above the floor; 0 is exactly the floor."""
    return np.clip(np.rint((features - floor) * (255 / SPAN)), 0, 255).astype(np.uint8)
