"""Batches of windows of like length: features, what the decoder reads and must say, and where each word is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from training.whisper import tokens
from training.whisper.data import IGNORED, Dataset, Item
from training.whisper.features import SPAN

NOT_SCORED = -100
PREFIX = (tokens.SOT, tokens.ENGLISH, tokens.TRANSCRIBE)


@dataclass
class Batch:
    """Tensors of one batch; a span is a first and last-plus-one encoder frame, and (0, 0) where there is none."""

    features: Tensor  # (batch, twice the frames, 80)
    phones: Tensor  # (batch, frames), NOT_SCORED where unknown
    frame_words: Tensor  # (batch, frames): word number + 1, 0 in pauses
    frame_before: Tensor  # the same of the word before
    inputs: Tensor  # (batch, length)
    targets: Tensor  # (batch, length)
    said: Tensor  # (batch, length, 2): span of the word read
    next: Tensor  # (batch, length, 2): span of the word to say

    def part(self, count: int) -> Batch:
        """The first `count` windows."""
        return Batch(**{field.name: getattr(self, field.name)[:count] for field in fields(self)})


@dataclass(frozen=True)
class Options:
    """Which windows (encoder frames), how many frames a batch, and the share with timestamps."""

    longest: int
    frames: int
    timestamps: float = 0.08
    augment: bool = True


def batches(data: Dataset, options: Options, rng: np.random.Generator) -> Iterator[Batch]:
    """Batches without end: of 2,000 random windows at a time, like lengths go together."""
    usable = [key for key in data.index if key[2] <= options.longest]
    while True:
        chosen = [usable[i] for i in rng.choice(len(usable), min(2000, len(usable)), replace=False)]
        groups = list(_group(sorted(chosen, key=lambda key: key[2]), options.frames))
        for group in rng.permutation(len(groups)):
            yield collate([data[key] for key in groups[group]], options, rng)


def _group(keys: list[tuple[str, int, int]], frames: int) -> Iterator[list[tuple[str, int, int]]]:
    """Split sorted windows into groups of about `frames` encoder frames."""
    group: list[tuple[str, int, int]] = []
    for key in keys:
        if group and (len(group) + 1) * (key[2] + 32) > frames:
            yield group
            group = []
        group.append(key)
    yield group


def collate(items: list[Item], options: Options, rng: np.random.Generator) -> Batch:
    """One batch; two frames of padding follow the longest window."""
    frames = max(len(item.features) // 2 for item in items) + 2
    texts = [_text(item, bool(rng.random() < options.timestamps)) for item in items]
    length = max(len(text) for text, _ in texts) - 1
    features = np.stack([_features(item, frames, options.augment, rng) for item in items])
    words = [_frame_words(item, frames - 1) for item in items]
    return Batch(
        features=torch.from_numpy(features),
        phones=torch.from_numpy(np.stack([_phones(item, frames - 1) for item in items])),
        frame_words=torch.from_numpy(np.stack([word for word, _ in words])),
        frame_before=torch.from_numpy(np.stack([before for _, before in words])),
        inputs=_pad([_corrupt(text[:-1], options, rng) for text, _ in texts], length, tokens.EOT),
        targets=_pad([_targets(text, item) for (text, _), item in zip(texts, items, strict=True)], length, NOT_SCORED),
        said=_spans([spans[:-1] for _, spans in texts], length),
        next=_spans([spans[1:] for _, spans in texts], length),
    )


def _features(item: Item, frames: int, augment: bool, rng: np.random.Generator) -> np.ndarray:
    out = np.full((2 * frames, 80), item.floor, np.float32)
    out[: len(item.features)] += item.features * np.float32(SPAN / 255)
    if augment and rng.random() < 0.5:
        _mask(out[: len(item.features)], item.floor, rng)
    return out


def _mask(features: np.ndarray, floor: float, rng: np.random.Generator) -> None:
    """Silence a band of up to 10 mel channels, and a few moments of up to 60 ms."""
    first = int(rng.integers(0, 75))
    features[:, first : first + int(rng.integers(1, 11))] = floor
    for start in rng.integers(0, max(1, len(features)), len(features) // 200):
        features[start : start + int(rng.integers(1, 7))] = floor


def _phones(item: Item, frames: int) -> np.ndarray:
    out = np.zeros(frames, np.int64)
    count = min(frames, len(item.phones))
    out[:count] = np.where(item.phones[:count] == IGNORED, NOT_SCORED, item.phones[:count].astype(np.int64))
    return out


def _frame_words(item: Item, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The word at each frame, and the word before that one."""
    now, before = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    last = 0
    for word, (start, end) in zip(item.words, item.spans, strict=True):
        now[start:end], before[start:end], last = word + 1, last, word + 1
    return now, before


def _text(item: Item, timestamps: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """All tokens with the span of each: (0, 0) for a token that is nowhere; the end is all that follows."""
    spans = [(int(start), int(end)) for start, end in item.spans]
    words = list(zip((item.words + tokens.FIRST_WORD).tolist(), spans, strict=True))
    after = int(item.spans[-1][1]) if len(item.spans) else 0
    text = [(token, (0, 0)) for token in PREFIX]
    if timestamps and words:
        first, last = (tokens.FIRST_TIME + int(frame) for frame in (item.spans[0][0], after))
        text += [(first, words[0][1]), *words, (last, words[-1][1])]
    else:
        text += [(tokens.NO_TIMESTAMPS, (0, 0)), *words]
    text.append((tokens.EOT, (after, 10_000)))
    return [token for token, _ in text], [span for _, span in text]


def _corrupt(text: list[int], options: Options, rng: np.random.Generator) -> list[int]:
    """Some words read are wrong ones, so that a mistake does not derail what follows."""
    if not options.augment:
        return text
    wrong = rng.random(len(text)) < 0.05
    others = rng.integers(tokens.FIRST_WORD, tokens.EOT, len(text))
    words = [tokens.FIRST_WORD <= token < tokens.EOT for token in text]
    return [int(token) for token in np.where(wrong & np.array(words), others, text)]


def _targets(text: list[int], item: Item) -> list[int]:
    """After the start: the language or no-speech; then the text; the fixed prefix is not scored."""
    first = tokens.ENGLISH if len(item.words) else tokens.NO_SPEECH
    forced = 2 if text[3] == tokens.NO_TIMESTAMPS else 1
    return [first, *[NOT_SCORED] * forced, *text[2 + forced :]][: len(text) - 1]


def _pad(rows: list[list[int]], length: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def _spans(rows: list[list[tuple[int, int]]], length: int) -> Tensor:
    return torch.tensor([row + [(0, 0)] * (length - len(row)) for row in rows])
