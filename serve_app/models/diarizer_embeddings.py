"""The voice of every speaker in every chunk: what pyannote's `get_embeddings` returns, with less work.

pyannote runs the network once for each pair of chunk and speaker. The network's frames are the same for all speakers of
a chunk, only the weights with which they are pooled differ; and where a speaker is silent all weights are 0, whatever
the chunk holds. So a chunk is heard once, and one in which nobody talks not at all. Whether a model takes several
weights at once, and whether it heeds no frame of weight 0, is tried when it is loaded.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.models.diarizer_chunks import Chunks
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

_SAME = 1e-4
"""By which two embeddings may differ through rounding."""


class Embedder:
    """Runs the speaker embedding of a pyannote pipeline over the chunks of one block."""

    def __init__(self, pipeline: Any, chunks: Chunks, frames: int, batch_size: int) -> None:
        self._model, self._chunks, self._batch_size = pipeline._embedding, chunks, batch_size
        self._least = -1
        if pipeline.embedding_exclude_overlap:
            self._least = math.ceil(frames * self._model.min_num_samples / chunks.length)
        self.exclude_overlap = bool(pipeline.embedding_exclude_overlap)
        self._try(frames)

    def _try(self, frames: int) -> None:
        """Find out what the model offers, on noise of a second."""
        noise = np.random.default_rng(0).standard_normal((2, SAMPLE_RATE)).astype(np.float32)
        masks = np.ones((2, 3, frames), np.float32)
        masks[:, 1, frames // 2 :] = masks[:, 2] = 0
        alone = self._one_by_one(noise, masks)
        self._together = self._takes_all(noise, masks, alone)
        self._silent = alone[0, 2]
        self._skips = np.allclose(self._silent, alone[1, 2], atol=_SAME, equal_nan=True)

    def _takes_all(self, noise: Audio, masks: NDArray[np.float32], alone: NDArray[np.float32]) -> bool:
        try:
            found = self._run(noise, masks)
        except (RuntimeError, ValueError, IndexError, AssertionError):
            return False
        return found.shape == alone.shape and np.allclose(found, alone, atol=_SAME, equal_nan=True)

    def silence(self, chunks: int, speakers: int) -> NDArray[np.float32]:
        """Return the embeddings of chunks in which nobody talks."""
        return np.tile(self._silent, (chunks, speakers, 1)).astype(np.float32)

    def __call__(self, samples: Audio, active: NDArray[Any]) -> NDArray[np.float32]:
        """Return (chunks, speakers, dimension) for 0 or 1 (chunks, frames, speakers), the first chunk at sample 0."""
        count, _, speakers = active.shape
        short = self._chunks.reach(count) - len(samples)
        padded = np.pad(samples, (0, short)) if short > 0 else samples
        clips = np.lib.stride_tricks.sliding_window_view(padded, self._chunks.length)[:: self._chunks.step]
        found, masks = self.silence(count, speakers), self._masks(active)
        heard = np.flatnonzero(masks.any((1, 2))) if self._skips else np.arange(count)
        for first in range(0, len(heard), self._batch_size):
            batch = heard[first : first + self._batch_size]
            found[batch] = self._embed(clips[batch], masks[batch])
        return found

    def _masks(self, active: NDArray[Any]) -> NDArray[np.float32]:
        """Return (chunks, speakers, frames): overlaps are left out, unless hardly anything would remain."""
        whole = active.transpose(0, 2, 1).astype(np.float32)
        if not self.exclude_overlap:
            return whole
        clean = whole * (whole.sum(1, keepdims=True) < 2)
        return np.where(clean.sum(2, keepdims=True) > self._least, clean, whole)

    def _embed(self, clips: Audio, masks: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._run(clips, masks) if self._together else self._one_by_one(clips, masks)

    def _one_by_one(self, clips: Audio, masks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model for each pair of chunk and speaker, as pyannote does."""
        count, speakers, _ = masks.shape
        clips, masks = np.repeat(clips, speakers, 0), masks.reshape(count * speakers, -1)
        size = self._batch_size
        parts = [self._run(clips[at : at + size], masks[at : at + size]) for at in range(0, len(clips), size)]
        return np.vstack(parts).reshape(count, speakers, -1)

    def _run(self, clips: Audio, masks: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        found = self._model(torch.from_numpy(np.ascontiguousarray(clips))[:, None], masks=torch.from_numpy(masks))
        return np.asarray(found, np.float32)
