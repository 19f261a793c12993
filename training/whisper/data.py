"""Training data: windows made once, written as shards of flat arrays and read through the page cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.speech import TimedPhone, Utterance
from training.texts import vocabulary
from training.whisper.features import log_mel, to_bytes
from training.whisper.windows import Window, WindowMaker

FRAMES_PER_S = 50  # the encoder's frames
_COMMON = (
    "t n s d z D k r l m I w @2 'E p b f 3 a# @ 'I 'i: h v 'aI 'V 'oU 'eI i '0 'a I2 a 'u: j g 'aU S i: '3: tS N "
    "'O: 'A@ 'U r- oU dZ eI 'O@ u: T @L 'aa e@ V 'o@ 3: 'i@3 'O2 aI E 0 'e@ U 'A: O@ A@ 'OI"
)
PHONES = tuple(_COMMON.split())
"""Phonemes that frames are labelled with, from 1; 0 is a pause, and rarer phonemes are not labelled (255)."""
IGNORED = 255
_FIELDS = ("features", "feature_ends", "floors", "phones", "phone_ends", "words", "spans", "word_ends")


@dataclass(frozen=True)
class Item:
    """A window for training: bytes of shape (frames, 80), the floor, phonemes (frames / 2), words and their frames."""

    features: NDArray[np.uint8]
    floor: float
    phones: NDArray[np.uint8]
    words: NDArray[np.int64]
    spans: NDArray[np.int64]


def to_item(window: Window) -> Item:
    """Features and labels of a window; a pair of features makes one encoder frame."""
    features, floor = log_mel(window.samples)
    features = features[: len(features) // 2 * 2]
    numbers = {word: index for index, word in enumerate(vocabulary())}
    words = np.array([numbers[word.text] for word in window.words], np.int64)
    times = np.array([(word.start, word.end) for word in window.words]).reshape(-1, 2)
    spans = np.clip(np.rint(times * FRAMES_PER_S), 0, len(features) // 2).astype(np.int64)
    return Item(to_bytes(features, floor), floor, _label(window.phones, spans, len(features) // 2), words, spans)


def _label(phones: Sequence[TimedPhone], spans: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """The phoneme at each of `count` frames; words of a synthesiser with other phonemes are not labelled."""
    numbers = {phone: index + 1 for index, phone in enumerate(PHONES)}
    labels = np.zeros(count, np.uint8)
    for start, end in spans:
        labels[start:end] = IGNORED
    for phone in phones:
        start, end = round(phone.start * FRAMES_PER_S), round(phone.end * FRAMES_PER_S)
        labels[start:end] = numbers.get(phone.text, IGNORED)
    return labels


def write_shard(folder: Path, seed: int, windows: int, pool: Sequence[Utterance] = ()) -> None:
    """Make `windows` windows and write them; a shard that is already there is left as it is."""
    if folder.exists():
        return
    maker = WindowMaker(seed, pool)
    items = [to_item(maker.make()) for _ in range(windows)]
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    for field, array in zip(_FIELDS, _flatten(items), strict=True):
        np.save(temporary / f"{field}.npy", array)
    temporary.rename(folder)


def _flatten(items: list[Item]) -> tuple[NDArray[np.generic], ...]:
    """The arrays of a shard: everything end to end, and where each window ends."""
    return (
        np.concatenate([item.features for item in items]),
        np.cumsum([len(item.features) for item in items]),
        np.array([item.floor for item in items], np.float32),
        np.concatenate([item.phones for item in items]),
        np.cumsum([len(item.phones) for item in items]),
        np.concatenate([item.words for item in items]),
        np.concatenate([item.spans for item in items]),
        np.cumsum([len(item.words) for item in items]),
    )


class Shard:
    """Windows of one shard, read from disk as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._arrays = {field: np.load(folder / f"{field}.npy", mmap_mode="r") for field in _FIELDS}
        self.frames = np.diff(self._arrays["feature_ends"], prepend=0) // 2
        """Encoder frames of each window."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Item:
        part = {name: self._part(name, index) for name in ("feature", "phone", "word")}
        arrays = self._arrays
        return Item(
            features=arrays["features"][part["feature"]],
            floor=float(arrays["floors"][index]),
            phones=arrays["phones"][part["phone"]],
            words=arrays["words"][part["word"]],
            spans=arrays["spans"][part["word"]],
        )

    def _part(self, name: str, index: int) -> slice:
        ends = self._arrays[f"{name}_ends"]
        return slice(int(ends[index - 1]) if index else 0, int(ends[index]))


class Dataset:
    """All shards of a folder as one; `refresh` finds shards written since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, Shard] = {}
        self.index: list[tuple[str, int, int]] = []
        """Shard, number in it and encoder frames of every window."""
        self.refresh()

    def refresh(self) -> None:
        """Look for new shards."""
        for folder in sorted(self._folder.glob("shard_???")):
            if folder.name not in self._shards:
                shard = self._shards[folder.name] = Shard(folder)
                self.index += [(folder.name, number, int(count)) for number, count in enumerate(shard.frames)]

    def __getitem__(self, key: tuple[str, int, int]) -> Item:
        return self._shards[key[0]][key[1]]
