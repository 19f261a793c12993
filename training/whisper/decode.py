"""Greedy decoding in PyTorch, to watch training; the service decodes with CTranslate2."""

from __future__ import annotations

import numpy as np
import torch

from training.whisper import tokens
from training.whisper.batches import Options, collate
from training.whisper.data import Dataset
from training.whisper.model import Whisper

_START = [tokens.SOT, tokens.ENGLISH, tokens.TRANSCRIBE, tokens.NO_TIMESTAMPS]


def word_error_rate(model: Whisper, data: Dataset, windows: int = 32) -> float:
    """Word errors per word over the first windows of `data`, padded to 30 s."""
    errors = words = 0
    for start in range(0, windows, 16):
        items = [data[key] for key in data.index[start : start + 16]]
        options = Options(0, 0, timestamps=0.0, prompts=0.0, augment=False)
        features = collate(items, options, np.random.default_rng(0)).features
        for heard, item in zip(greedy(model, features), items, strict=True):
            errors += distance(heard, [int(word) for word in item.words])
            words += len(item.words)
    return errors / words


@torch.inference_mode()
def greedy(model: Whisper, features: torch.Tensor, most: int = 60) -> list[list[int]]:
    """The words (as numbers in the vocabulary) heard in each window."""
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model.encoder(features, None)
        text = torch.tensor([_START] * len(features))
        while text.shape[1] < most and not bool((text == tokens.EOT).any(1).all()):
            best = model.decoder(text, encoded)[0][:, -1].argmax(-1)
            text = torch.cat([text, best[:, None]], 1)
    return [_words(row) for row in text[:, len(_START) :].tolist()]


def _words(row: list[int]) -> list[int]:
    row = row[: row.index(tokens.EOT)] if tokens.EOT in row else row
    return [token - tokens.FIRST_WORD for token in row if token < tokens.EOT]


def distance(left: list[int], right: list[int]) -> int:
    """Insertions, deletions and substitutions between two sequences."""
    row = list(range(len(right) + 1))
    for i, item in enumerate(left):
        last, row[0] = row[0], i + 1
        for j, other in enumerate(right):
            last, row[j + 1] = row[j + 1], min(last + (item != other), row[j] + 1, row[j + 1] + 1)
    return row[-1]
