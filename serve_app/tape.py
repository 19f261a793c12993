"""Decoded samples that are still needed, found by their place in the file."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from serve_app.stages import Audio


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of decoded samples, read-only, that begins at sample `start` of the file."""

    start: int
    samples: Audio

    @property
    def stop(self) -> int:
        """The sample of the file after the last."""
        return self.start + len(self.samples)


class Tape:
    """The latest pieces of a file up to sample `stop`; what never came is silence."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.stop = 0

    def add(self, piece: Piece) -> None:
        """Append a piece; raises ValueError if it begins before the last one ends."""
        if piece.start < self.stop:
            raise ValueError(f"pieces must come in the order of time: sample {piece.start} after {self.stop}")
        self._pieces.append(piece)
        self.stop = piece.stop

    def read(self, start: int, stop: int) -> Audio:
        """Return a read-only copy of samples `start` to `stop`."""
        audio = np.zeros(stop - start, np.float32)
        for piece in self._pieces:
            first, last = max(piece.start, start), min(piece.stop, stop)
            if first < last:
                audio[first - start : last - start] = piece.samples[first - piece.start : last - piece.start]
        audio.flags.writeable = False
        return audio

    def silent(self, start: int, stop: int) -> bool:
        """Return whether no samples have come between `start` and `stop`."""
        return not any(piece.start < stop and start < piece.stop for piece in self._pieces)

    def forget(self, before: int) -> None:
        """Let go of the pieces that end at or before a sample."""
        while self._pieces and self._pieces[0].stop <= before:
            self._pieces.popleft()
