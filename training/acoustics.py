"""A random room, microphone, noise and level for training clips."""

from __future__ import annotations

import numpy as np

from training.sounds import Audio, add_noise, reverberate, tilt


def worsen(rng: np.random.Generator, samples: Audio) -> Audio:
    """A copy with an echo (12 %), a duller or sharper sound (30 %), noise at 8 to 45 dB (45 %) and a random level."""
    if rng.random() < 0.12:
        samples = reverberate(rng, samples)
    if rng.random() < 0.3:
        samples = tilt(rng, samples)
    if rng.random() < 0.45:
        samples = add_noise(rng, samples, float(rng.uniform(8, 45)))
    return (samples * 10 ** (rng.uniform(-15, 3) / 20)).astype(np.float32)
