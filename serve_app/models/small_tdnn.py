"""The two small networks of the demo diarization pipeline; its checkpoints name this module.

Both hear the same log-mel features: 40 bands, measured against the loudest one of the chunk, so that the level of a
recording does not matter. Both are also told the pitch, which so few bands show too coarsely. Both are deterministic.
They are trained by `python -m training.speakers`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Task
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

_HOP = 160  # samples between spectra at 16 kHz
_FLOOR = 6.0  # bands that are this many powers of ten below the chunk's loudest count as silent
_PITCH_WINDOW = 1024  # 64 ms: four periods of the lowest pitch
_LOWEST, _OCTAVES, _STEPS = 60.0, 2.8, 24  # pitches from 60 to 420 Hz, 24 to an octave
_PITCHES = round(_OCTAVES * _STEPS) + 1
_CUTOFF = 1200.0  # Hz; what is above says little about the pitch
_BLUR = 0.06  # octaves by which one voice's pitches in two chunks may differ
_PITCH_SCALE = 4.0  # for the segmenter: of the pitches beside the convolutions' channels


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


class Pitch(nn.Module):
    """Waveforms (batch, 1, samples) to how likely each pitch is (batch, pitches, frames of 20 ms).

    It is the autocorrelation, as Boersma (1993) corrects it for the window; a frame without a voice is all 0, one with
    a clear voice sums to 1. Nothing here is learned.
    """

    lags: Tensor
    window: Tensor
    prefer: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        size, octaves = 2 * _PITCH_WINDOW, torch.arange(_PITCHES) / _STEPS
        window = torch.hann_window(_PITCH_WINDOW)
        waves = torch.arange(size // 2 + 1)[:, None] * (sample_rate / (_LOWEST * 2**octaves)) * (2 * math.pi / size)
        own = torch.fft.rfft(window, size).abs().square()
        own[1:] *= 2
        twice = torch.ones(size // 2 + 1)
        twice[1:] = 2
        lags = twice[:, None] * waves.cos() * own.sum() / (own @ waves.cos())
        self.register_buffer("lags", lags[: int(_CUTOFF * size / sample_rate) + 1], persistent=False)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("prefer", 0.02 * octaves, persistent=False)  # the higher of two octaves that fit alike

    @torch.no_grad()
    def forward(self, waveforms: Tensor) -> Tensor:
        """The likely pitches of a batch of chunks."""
        padded = F.pad(waveforms[:, 0].float(), (_PITCH_WINDOW // 2, _PITCH_WINDOW // 2))
        frames = padded.unfold(-1, _PITCH_WINDOW, 2 * _HOP)
        frames = (frames - frames.mean(-1, keepdim=True)) * self.window
        powers = torch.fft.rfft(frames, 2 * _PITCH_WINDOW)[..., : len(self.lags)].abs().square()
        energy = powers[..., :1] + 2 * powers[..., 1:].sum(-1, keepdim=True)
        fits = powers @ self.lags / (energy + 1e-6)
        level = torch.log10(energy[..., 0] + 1e-6)
        loud = (level - level.amax(-1, keepdim=True) + 4).clamp(0, 1)
        voiced = ((fits.amax(-1) - 0.55) / 0.3).clamp(0, 1) * loud
        likely = (60 * (fits + self.prefer)).softmax(-1) * voiced[..., None]
        return likely.transpose(1, 2)


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
    """Speaker embedding: the timbre and, beside it, how often the speaker has each pitch; always of length 1.

    The timbre is the mean and deviation over the frames where the speaker talks, mapped to `embedding_size` numbers;
    `pitch_share` is the pitches' share of the squared distance between two speakers.
    """

    blur: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        num_channels: int = 1,
        bands: int = 40,
        channels: int = 160,
        embedding_size: int = 96,
        pitch_share: float = 0.6,
        task: Task | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels", "bands", "channels", "embedding_size", "pitch_share")
        self.features = LogMel(sample_rate, bands)
        self.tdnn = _tdnn(bands, channels)
        self.output = nn.Linear(2 * channels, embedding_size)
        self.pitch = Pitch(sample_rate)
        apart = (torch.arange(_PITCHES)[:, None] - torch.arange(_PITCHES)) / _STEPS / _BLUR
        self.register_buffer("blur", (-0.5 * apart.square()).softmax(0), persistent=False)

    @property
    def dimension(self) -> int:
        """Size of an embedding."""
        return int(self.hparams.embedding_size) + _PITCHES

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """Embeddings (batch, size) of waveforms (batch, 1, samples); with weights (batch, speakers, frames), one each.

        Weights say how much each frame belongs to the speaker, at any frame rate; (batch, frames) is one speaker.
        """
        frames = self.tdnn(self.features(waveforms))
        if weights is None:
            weights = torch.ones(len(frames), frames.shape[-1], device=frames.device)
        if weights.dim() == 2:
            return self._join(frames, self.pitch(waveforms), weights[:, None])[:, 0]
        return self._join(frames, self.pitch(waveforms), weights)

    def timbre(self, frames: Tensor, weights: Tensor) -> Tensor:
        """Timbres (batch, speakers, size) of the convolutions' frames (batch, channels, time)."""
        return self.output(_statistics(frames, weights))

    def _join(self, frames: Tensor, pitches: Tensor, weights: Tensor) -> Tensor:
        """Timbre and pitches, each scaled to its share of the whole."""
        timbre = F.normalize(self.timbre(frames, weights), dim=-1)
        weights = F.interpolate(weights.float(), size=pitches.shape[-1], mode="nearest")
        heard = torch.einsum("bpt,bst->bsp", pitches, weights)
        often = heard / (heard.sum(-1, keepdim=True) + 1e-6) @ self.blur
        pitch = F.normalize((often + 1e-6).sqrt(), dim=-1)
        share = float(self.hparams.pitch_share)
        return torch.cat([(1 - share) ** 0.5 * timbre, share**0.5 * pitch], dim=-1)

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
        self.pitch = Pitch(sample_rate)
        self.project = nn.Linear(channels + _PITCHES, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(layers))
        self.output = nn.Linear(width, self.dimension)

    @property
    def dimension(self) -> int:
        """Sets of speakers: nobody, three alone, three pairs."""
        return 7

    def forward(self, waveforms: Tensor) -> Tensor:
        """Log-probabilities (batch, frames, sets of speakers) of waveforms (batch, 1, samples)."""
        frames = torch.cat([self.tdnn(self.features(waveforms)), _PITCH_SCALE * self.pitch(waveforms)], dim=1)
        frames = F.avg_pool1d(frames, 2)
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
