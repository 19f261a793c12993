"""Whisper's network with the names of Transformers' weights, written so that padding costs next to nothing.

The service pads every window to 30 s, mostly with one constant. All those padding positions differ only in their
position, so a random few of them, weighted as if they were all there, give attention nearly the same result: about a
quarter of the time of the whole window. `forward(..., padding=None)` uses every position, as the service does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS = 1500
MAX_TOKENS = 448


@dataclass(frozen=True)
class Size:
    """The demo Whisper's dimensions."""

    width: int = 192
    heads: int = 3
    decoder_heads: int = 6
    encoder_layers: int = 3
    decoder_layers: int = 3
    vocabulary: int = 0


@dataclass
class Encoded:
    """Encoder output (batch, positions, width), the layer before it, and the log weight of every position."""

    states: Tensor
    lower: Tensor
    log_weight: Tensor
    frames: int


class Attention(nn.Module):
    """Multi-head attention; `explicit` also returns the probabilities, shape (batch, heads, queries, keys)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """Attend from x to source; `bias`, shape (keys) or (queries, keys), is added to the logits."""
        query, (key, value) = self._split(self.q_proj(x)), self._keys(source)
        logits = torch.add(bias.to(query.dtype), query @ key.transpose(-1, -2), alpha=query.shape[-1] ** -0.5)
        return self._merge(_softmax(logits) @ value)

    def explicit(self, x: Tensor, source: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, and the attention probabilities in float32."""
        query, (key, value) = self._split(self.q_proj(x)), self._keys(source)
        logits = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5 + bias
        weights = logits.softmax(-1)
        return self._merge(weights.to(value.dtype) @ value), weights

    def _keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(self.k_proj(source)), self._split(self.v_proj(source))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        return self.out_proj(x.transpose(1, 2).flatten(2))


def _softmax(logits: Tensor) -> Tensor:
    """Softmax in the type of the logits: autocast would make it float32, and slow."""
    with torch.autocast("cpu", enabled=False):
        return logits.softmax(-1)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward block, each on a normalised input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Shape (batch, positions, width) in and out."""
        normal = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normal, normal, bias)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Encoder(nn.Module):
    """Two convolutions and the layers; bytes of features in, states of content and padding out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(80, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(POSITIONS, size.width).requires_grad_(False)
        self.embed_positions.weight.copy_(sinusoids(POSITIONS, size.width))
        self.layers = nn.ModuleList(EncoderLayer(size.width, size.heads) for _ in range(size.encoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, features: Tensor, padding: int | None) -> Encoded:
        """Encode features (batch, 2 × frames, 80) whose last 3 frames are padding, with that many padding positions."""
        stem = self._stem(features)
        frames = stem.shape[1] - 1  # the last frame saw the end of the array
        positions, log_weight = _positions(frames, padding)
        x = torch.cat([stem[:, :frames], stem[:, frames - 1 : frames].expand(-1, len(positions) - frames, -1)], 1)
        x = x + self.embed_positions(positions)
        lower = x
        for layer in self.layers:
            lower, x = x, layer(x, log_weight)
        return Encoded(self.layer_norm(x), lower, log_weight, frames)

    def _stem(self, features: Tensor) -> Tensor:
        return F.gelu(self.conv2(F.gelu(self.conv1(features.transpose(1, 2))))).transpose(1, 2)


def _positions(frames: int, padding: int | None) -> tuple[Tensor, Tensor]:
    """Positions to encode, and the log of how many positions each stands for."""
    rest = POSITIONS - frames
    if padding is None or padding >= rest:
        return torch.arange(POSITIONS), torch.zeros(POSITIONS)
    chosen = torch.sort(frames + torch.randperm(rest)[:padding]).values
    log_weight = torch.zeros(frames + padding)
    log_weight[frames:] = float(np.log(rest / padding))
    return torch.cat([torch.arange(frames), chosen]), log_weight


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's fixed positions."""
    scale = torch.exp(-np.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angle = torch.arange(length)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the sound and a feed-forward block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """The new states and the attention to the sound."""
        normal = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normal, normal, _causal(x.shape[1]))
        heard, weights = self.encoder_attn.explicit(self.encoder_attn_layer_norm(x), encoded.states, encoded.log_weight)
        x = x + heard
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))), weights


def _causal(length: int) -> Tensor:
    """Bias that hides what comes later."""
    return torch.full((length, length), -1e4).triu(1)


class Decoder(nn.Module):
    """Token ids in, logits and each layer's attention to the sound out."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(size.vocabulary, size.width)
        self.embed_positions = nn.Embedding(MAX_TOKENS, size.width)
        self.layers = nn.ModuleList(DecoderLayer(size.width, size.decoder_heads) for _ in range(size.decoder_layers))
        self.layer_norm = nn.LayerNorm(size.width)

    def forward(self, tokens: Tensor, encoded: Encoded) -> tuple[Tensor, list[Tensor]]:
        """Tokens (batch, length) to logits (batch, length, vocabulary)."""
        x = self.embed_tokens(tokens) + self.embed_positions.weight[: tokens.shape[1]]
        attention = []
        for layer in self.layers:
            x, weights = layer(x, encoded)
            attention.append(weights)
        return self.layer_norm(x) @ self.embed_tokens.weight.T, attention


class Whisper(nn.Module):
    """Encoder and decoder; its state dict is that of Transformers' WhisperModel."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        with torch.no_grad():
            self.encoder = Encoder(size)
        self.decoder = Decoder(size)
        self.apply(_initialise)


def _initialise(module: nn.Module) -> None:
    """Small normal weights, as Whisper's own initialisation; positions of the encoder stay as they are."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.05)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Decoder):
        nn.init.normal_(module.embed_tokens.weight, std=0.05)
        nn.init.normal_(module.embed_positions.weight, std=0.02)
