"""The wav2vec2 forward pass over several windows at once, with the same result for each as if it were alone."""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch

from serve_app.alignment import buckets
from serve_app.stages import Audio


class PerClipNorm(torch.nn.Module):
    """Group norm over each clip's own frames: the zeros behind a clip would change its mean and variance.

    It follows the first convolution of the smaller models (wav2vec2 base), which is why those are said not to bear
    padding. `samples` are the lengths of the clips in work; None where all are as long as the batch.
    """

    def __init__(self, norm: torch.nn.Module, conv: torch.nn.Conv1d) -> None:
        super().__init__()
        self.norm = norm
        self.samples: list[int] | None = None
        self._kernel, self._stride = conv.kernel_size[0], conv.stride[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Normalise (clips, channels, frames); frames behind a clip become zero."""
        if self.samples is None:
            normed: torch.Tensor = self.norm(hidden)
            return normed
        result = torch.zeros_like(hidden)
        for row, samples in enumerate(self.samples):
            frames = (samples - self._kernel) // self._stride + 1
            result[row, :, :frames] = self.norm(hidden[row : row + 1, :, :frames])[0]
        return result


class Emissions:
    """A CTC model of transformers or torchaudio, as `load_align_model` returns it; may be called from any thread."""

    def __init__(self, model: Any, kind: str, device: str, batch_size: int) -> None:
        self._model, self._device, self._batch_size = model.eval(), device, batch_size
        self._forward = {"huggingface": self._transformers, "torchaudio": self._torchaudio}[kind]
        self._shortest = receptive_field(model)
        self._norms = _per_clip_norms(model)
        self._lock = Lock()

    def __call__(self, clips: Sequence[Audio]) -> list[torch.Tensor]:
        """Return each clip's logits, shape (frames, labels), on the CPU."""
        found: dict[int, torch.Tensor] = {}
        lengths = [max(len(clip), self._shortest) for clip in clips]
        for bucket in buckets(lengths, self._batch_size):
            found |= zip(bucket, self._of([clips[i] for i in bucket], [lengths[i] for i in bucket]), strict=True)
        return [found[place] for place in range(len(clips))]

    def _of(self, clips: Sequence[Audio], lengths: list[int]) -> list[torch.Tensor]:
        batch = np.zeros((len(clips), max(lengths)), np.float32)
        for row, clip in zip(batch, clips, strict=True):
            row[: len(clip)] = clip
        with self._lock, torch.inference_mode():
            ragged = lengths if min(lengths) < max(lengths) else None
            for norm in self._norms:
                norm.samples = ragged
            logits, frames = self._forward(torch.from_numpy(batch).to(self._device), ragged)
            return [row[:count] for row, count in zip(logits.cpu(), frames, strict=True)]

    def _transformers(self, batch: torch.Tensor, ragged: list[int] | None) -> tuple[torch.Tensor, list[int]]:
        if ragged is None:
            logits = self._model(batch).logits
            return logits, [logits.shape[1]] * len(batch)
        lengths = torch.tensor(ragged, device=batch.device)
        heard = torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]
        logits = self._model(batch, attention_mask=heard.long()).logits
        return logits, self._model._get_feat_extract_output_lengths(lengths).tolist()

    def _torchaudio(self, batch: torch.Tensor, ragged: list[int] | None) -> tuple[torch.Tensor, list[int]]:
        if ragged is None:
            logits, _ = self._model(batch)
            return logits, [logits.shape[1]] * len(batch)
        logits, frames = self._model(batch, lengths=torch.tensor(ragged, device=batch.device))
        return logits, frames.tolist()


def receptive_field(model: torch.nn.Module) -> int:
    """Return how many samples make one frame, the least that a model takes: 400 in the published ones."""
    layers: Any = next(part.conv_layers for part in model.modules() if hasattr(part, "conv_layers"))
    field = 1
    for layer in reversed(layers):
        field = (field - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
    return field


def _per_clip_norms(model: torch.nn.Module) -> list[PerClipNorm]:
    """Put a PerClipNorm in the place of every group norm that follows a convolution of the feature extractor."""
    layers = [layer for layer in model.modules() if isinstance(getattr(layer, "layer_norm", None), torch.nn.GroupNorm)]
    for layer in layers:
        layer.layer_norm = PerClipNorm(layer.layer_norm, layer.conv)  # type: ignore[arg-type]
    return [layer.layer_norm for layer in layers if isinstance(layer.layer_norm, PerClipNorm)]
