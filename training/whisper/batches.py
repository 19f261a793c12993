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
    """Which windows (encoder frames), how many frames a batch, and the shares with timestamps and prompts."""

    longest: int
    frames: int
    timestamps: float = 0.08
    prompts: float = 0.04
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
    texts = [_text(item, bool(rng.random() < options.timestamps), _prompt(options, rng)) for item in items]
    length = max(map(len, texts)) - 1
    features = np.stack([_features(item, frames, options.augment, rng) for item in items])
    words = [_frame_words(item, frames - 1) for item in items]
    return Batch(
        features=torch.from_numpy(features),
        phones=torch.from_numpy(np.stack([_phones(item, frames - 1) for item in items])),
        frame_words=torch.from_numpy(np.stack([word for word, _ in words])),
        frame_before=torch.from_numpy(np.stack([before for _, before in words])),
        inputs=_pad([_corrupt([part.token for part in text[:-1]], options, rng) for text in texts], length, tokens.EOT),
        targets=_pad([_targets(text) for text in texts], length, NOT_SCORED),
        said=_spans([[part.span for part in text[:-1]] for text in texts], length),
        next=_spans([[part.span for part in text[1:]] for text in texts], length),
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


@dataclass(frozen=True)
class Part:
    """A token, the frames where it is heard ((0, 0): nowhere), and whether the decoder is asked for it."""

    token: int
    span: tuple[int, int] = (0, 0)
    asked: bool = True


def _text(item: Item, timestamps: bool, prompt: list[int]) -> list[Part]:
    """Everything the decoder reads and says; the end is heard in all that follows the last word.

    Where there is no word it says no-speech, not nothing: CTranslate2 divides a score by the length, so that an empty
    answer is its worst, and every reader drops special tokens.
    """
    words = [Part(tokens.FIRST_WORD + int(word), (int(a), int(b))) for word, (a, b) in _heard(item)]
    after = words[-1].span[1] if words else 0
    text = [Part(token, asked=False) for token in (*prompt, tokens.SOT)]
    text += [Part(tokens.ENGLISH), Part(tokens.TRANSCRIBE, asked=False)]
    if timestamps and words:
        first, last = words[0].span, words[-1].span
        text += [Part(tokens.FIRST_TIME + first[0], first), *words, Part(tokens.FIRST_TIME + after, last)]
    else:
        text += [Part(tokens.NO_TIMESTAMPS, asked=False), *(words or [Part(tokens.NO_SPEECH)])]
    return [*text, Part(tokens.EOT, (after, 10_000))]


def _heard(item: Item) -> Iterator[tuple[int, tuple[int, int]]]:
    return zip(item.words.tolist(), item.spans.tolist(), strict=True)


def _prompt(options: Options, rng: np.random.Generator) -> list[int]:
    """At times what was said before, or a hint: any words, to be read and not to be heard."""
    if rng.random() >= options.prompts:
        return []
    return [tokens.PREVIOUS, *rng.integers(tokens.FIRST_WORD, tokens.EOT, int(rng.integers(1, 12))).tolist()]


def _corrupt(text: list[int], options: Options, rng: np.random.Generator) -> list[int]:
    """Some words read are wrong ones, so that a mistake does not derail what follows."""
    if not options.augment:
        return text
    wrong = rng.random(len(text)) < 0.05
    others = rng.integers(tokens.FIRST_WORD, tokens.EOT, len(text))
    words = [tokens.FIRST_WORD <= token < tokens.EOT for token in text]
    return [int(token) for token in np.where(wrong & np.array(words), others, text)]


def _targets(text: list[Part]) -> list[int]:
    """What the decoder must say after each token; where there is no word, no-speech in place of the language."""
    speech = any(tokens.FIRST_WORD <= part.token < tokens.EOT and part.asked for part in text)
    wanted = [part.token if part.asked else NOT_SCORED for part in text[1:]]
    return wanted if speech else [tokens.NO_SPEECH if token == tokens.ENGLISH else token for token in wanted]


def _pad(rows: list[list[int]], length: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def _spans(rows: list[list[tuple[int, int]]], length: int) -> Tensor:
    return torch.tensor([row + [(0, 0)] * (length - len(row)) for row in rows])
