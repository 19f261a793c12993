"""What the demo Whisper is taught: tokens, and on the way there phonemes, words and where to look."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.texts import vocabulary
from training.whisper.batches import NOT_SCORED, Batch
from training.whisper.data import PHONES
from training.whisper.model import Encoded, Size, Whisper

SAID_HEADS, NEXT_HEADS = 2, 3
"""How many heads of the first layer look at the word just read, and of each later layer at the word to say."""
SCORED_FRAMES = 0.2
"""Share of the frames at which the word is asked for: neighbours would teach the same."""


@dataclass(frozen=True)
class Weights:
    """Weights of the helping losses beside the tokens' cross-entropy."""

    phones: float
    words: float
    before: float
    guide: float


class Helpers(nn.Module):
    """Layers that exist only in training: the phoneme, the word and the word before, for every encoder frame."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        words = len(vocabulary()) + 1
        self.lower_norm = nn.LayerNorm(size.width)
        self.phones = nn.Linear(size.width, len(PHONES) + 1)
        self.words = nn.Linear(size.width, words)
        self.before = nn.Linear(size.width, words)

    def forward(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of each, and the phoneme accuracy."""
        states, lower = encoded.states[:, : encoded.frames], encoded.lower[:, : encoded.frames]
        phones = self.phones(self.lower_norm(lower))
        some = torch.rand(batch.frame_words.shape) < SCORED_FRAMES
        states, words, before = states[some], batch.frame_words[some], batch.frame_before[some]
        return {
            "phones": _cross_entropy(phones, batch.phones),
            "words": F.cross_entropy(self.words(states).float(), words),
            "before": F.cross_entropy(self.before(states).float(), before),
            "phone_accuracy": _accuracy(phones, batch.phones * (batch.phones > 0) + NOT_SCORED * (batch.phones == 0)),
        }


def losses(model: Whisper, helpers: Helpers, batch: Batch, padding: int | None) -> dict[str, Tensor]:
    """Every loss and accuracy of a batch."""
    encoded = model.encoder(batch.features, padding)
    logits, attention = model.decoder(batch.inputs, encoded)
    out = helpers(encoded, batch)
    out["tokens"] = _cross_entropy(logits, batch.targets, smoothing=0.05)
    out["token_accuracy"] = _accuracy(logits, batch.targets)
    out["guide"] = _guide(attention, batch)
    return out


def total(parts: dict[str, Tensor], weights: Weights) -> Tensor:
    """The weighted sum that is minimised."""
    helping = (getattr(weights, name) * parts[name] for name in ("phones", "words", "before", "guide"))
    return parts["tokens"] + torch.stack(list(helping)).sum()


def _cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    scored = labels != NOT_SCORED
    return F.cross_entropy(logits[scored].float(), labels[scored], label_smoothing=smoothing)


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    scored = labels != NOT_SCORED
    return (logits[scored].argmax(-1) == labels[scored]).float().sum() / scored.sum().clamp_min(1)


def _guide(attention: list[Tensor], batch: Batch) -> Tensor:
    """How little of the guided heads' attention lies on the frames of the word."""
    first = _miss(attention[0][:, :SAID_HEADS], batch.said)
    rest = [_miss(weights[:, :NEXT_HEADS], batch.next) for weights in attention[1:]]
    return torch.stack([first, *rest]).mean()


def _miss(weights: Tensor, spans: Tensor) -> Tensor:
    """Mean negative log of the attention inside each span; weights are (batch, heads, queries, positions)."""
    frame = torch.arange(weights.shape[-1])
    inside = (frame >= spans[..., :1]) & (frame < spans[..., 1:])
    wanted = inside.any(-1)
    mass = (weights * inside[:, None]).sum(-1).clamp_min(1e-4)
    return -(mass.log() * wanted[:, None]).sum() / (wanted.sum() * weights.shape[1]).clamp_min(1)
