"""The two small networks of the demo diarization pipeline; its checkpoints name this module.

Both hear the same log-mel features: 40 bands, measured against the loudest one of the chunk, so that the level of a
recording does not matter. Both are deterministic. They are trained by `python -m training.speakers`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Task
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

_HOP = 160  # samples between spectra at 16 kHz
_FLOOR = 6.0  # bands that are this many powers of ten below the chunk's loudest count as silent


class LogMel(nn.Module):
    """Waveforms (batch, 1, samples) to log-mel features (batch, bands, frames of 10 ms), about -1.5 to 1.5."""

    def __init__(self, sample_rate: int, bands: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(sample_rate, n_fft=512, win_length=400, hop_length=_HOP, n_mels=bands, f_min=40)

    def forward(self, waveforms: Tensor) -> Tensor:
        """The features of a batch of chunks."""
        levels = torch.log10(self.mel(waveforms[:, 0]) + 1e-9)
        below = levels - levels.amax(dim=(1, 2), keepdim=True)
        return below.clamp(min=-_FLOOR) / 2 + _FLOOR / 4


def _tdnn(bands: int, channels: int) -> nn.Sequential:
    """Four convolutions that halve the frame rate (to 20 ms) and see 0.17 s."""
    layers: list[nn.Module] = []
    for size, stride, dilation in ((5, 2, 1), (3, 1, 2), (3, 1, 3), (1, 1, 1)):
        padding = (size - 1) * dilation // 2
        convolution = nn.Conv1d(bands, channels, size, stride=stride, dilation=dilation, padding=padding)
        layers += [convolution, nn.ReLU(), nn.BatchNorm1d(channels)]
        bands = channels
    return nn.Sequential(*layers)


class SmallTDNN(Model):
    """Speaker embedding: mean and deviation over the frames where the speaker talks, mapped to `dimension` numbers."""

    def __init__(
        self,
        sample_rate: int = 16000,
        num_channels: int = 1,
        bands: int = 40,
        channels: int = 160,
        embedding_size: int = 96,
        task: Task | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels", "bands", "channels", "embedding_size")
        self.features = LogMel(sample_rate, bands)
        self.tdnn = _tdnn(bands, channels)
        self.output = nn.Linear(2 * channels, embedding_size)

    @property
    def dimension(self) -> int:
        """Size of an embedding."""
        return int(self.hparams.embedding_size)

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """Embeddings (batch, size) of waveforms (batch, 1, samples); with weights (batch, speakers, frames), one each.

        Weights say how much each frame belongs to the speaker, at any frame rate; (batch, frames) is one speaker.
        """
        frames = self.tdnn(self.features(waveforms))
        if weights is None:
            weights = torch.ones(len(frames), frames.shape[-1], device=frames.device)
        if weights.dim() == 2:
            return self.pool(frames, weights[:, None])[:, 0]
        return self.pool(frames, weights)

    def pool(self, frames: Tensor, weights: Tensor) -> Tensor:
        """Embeddings (batch, speakers, size) of the convolutions' frames (batch, channels, time)."""
        return self.output(_statistics(frames, weights))

    def num_frames(self, num_samples: int) -> int:
        """Frames of 20 ms in so many samples."""
        return num_samples // (2 * _HOP) + 1

    def receptive_field_size(self, num_frames: int = 1) -> int:
        """Samples that so many frames stand for."""
        return 2 * _HOP * num_frames

    def receptive_field_center(self, frame: int = 0) -> int:
        """The sample in a frame's middle."""
        return 2 * _HOP * frame


def _statistics(frames: Tensor, weights: Tensor) -> Tensor:
    """Mean and deviation (batch, speakers, 2 x channels) of frames (batch, channels, time), weighted for each speaker.

    1e-4 under the root keeps its slope finite where nothing varies: without it training gave NaN.
    """
    weights = F.interpolate(weights.float(), size=frames.shape[-1], mode="nearest")
    weights = weights / (weights.sum(-1, keepdim=True) + 1e-6)
    mean = torch.einsum("bct,bst->bsc", frames, weights)
    variance = torch.einsum("bct,bst->bsc", frames * frames, weights) - mean * mean
    return torch.cat([mean, (variance.clamp(min=0) + 1e-4).sqrt()], dim=-1)


class SmallSegmenter(Model):
    """Who of up to three speakers talks in each 40 ms of a chunk; at most two at once (pyannote's powerset)."""

    def __init__(
        self,
        sample_rate: int = 16000,
        num_channels: int = 1,
        bands: int = 40,
        channels: int = 160,
        width: int = 128,
        layers: int = 3,
        task: Task | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels", "bands", "channels", "width", "layers")
        self.features = LogMel(sample_rate, bands)
        self.tdnn = _tdnn(bands, channels)
        self.project = nn.Linear(channels, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(layers))
        self.output = nn.Linear(width, self.dimension)

    @property
    def dimension(self) -> int:
        """Sets of speakers: nobody, three alone, three pairs."""
        return 7

    def forward(self, waveforms: Tensor) -> Tensor:
        """Log-probabilities (batch, frames, sets of speakers) of waveforms (batch, 1, samples)."""
        frames = F.avg_pool1d(self.tdnn(self.features(waveforms)), 2)
        hidden = self.project(frames.transpose(1, 2))
        for block in self.blocks:
            hidden = block(hidden)
        return self.output(hidden).log_softmax(-1)

    def num_frames(self, num_samples: int) -> int:
        """Frames of 40 ms in so many samples."""
        return (num_samples // (2 * _HOP) + 1) // 2

    def receptive_field_size(self, num_frames: int = 1) -> int:
        """Samples that so many frames stand for (not all they see: pyannote takes its middle for a frame's time)."""
        return 4 * _HOP * num_frames

    def receptive_field_center(self, frame: int = 0) -> int:
        """The sample in a frame's middle."""
        return 4 * _HOP * frame + 2 * _HOP


class _Block(nn.Module):
    """Looks at the neighbours (a convolution over 0.6 s), then at the whole chunk (attention), then at itself."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.near = nn.Conv1d(width, width, 15, padding=7, groups=width)
        self.mix = nn.Linear(width, width)
        self.far = nn.MultiheadAttention(width, heads, batch_first=True)
        self.alone = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (batch, frames, width) to the same shape."""
        near = self.near(self.norms[0](hidden).transpose(1, 2)).transpose(1, 2)
        hidden = hidden + self.mix(F.gelu(near))
        query = self.norms[1](hidden)
        hidden = hidden + self.far(query, query, query, need_weights=False)[0]
        return hidden + self.alone(self.norms[2](hidden))
