"""Sentences of a closed vocabulary, from a small grammar; one in twenty is held out from all training."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).parent
_HELD_OUT_SHARE = 20
Rules = dict[str, list[tuple[str, ...]]]


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word the demo models know: lower case, sorted, no two that sound alike."""
    return tuple((_FOLDER / "vocabulary.txt").read_text().split())


@cache
def grammar() -> Rules:
    """The rules of grammar.txt: a name to its choices; a name in a choice is written `<name>`."""
    rules: Rules = {}
    for line in (_FOLDER / "grammar.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, choices = line.split(":", 1)
            rules.setdefault(name, []).extend(tuple(choice.split()) for choice in choices.split("|"))
    return rules


def is_held_out(text: str) -> bool:
    """Whether this text is kept for tests: decided by its SHA-1, so the same everywhere and for ever."""
    return int(hashlib.sha1(text.encode()).hexdigest(), 16) % _HELD_OUT_SHARE == 0


def sentence(rng: np.random.Generator, held_out: bool = False) -> str:
    """A natural sentence in lower case without punctuation, from the training share or from the held-out share."""
    while True:
        text = " ".join(_expand("<sentence>", rng))
        if is_held_out(text) == held_out:
            return text


def random_words(rng: np.random.Generator, count: int, held_out: bool = False) -> str:
    """`count` words drawn evenly from the vocabulary: no grammar to lean on."""
    while True:
        text = " ".join(rng.choice(vocabulary(), count))
        if is_held_out(text) == held_out:
            return text


def _expand(part: str, rng: np.random.Generator) -> list[str]:
    """The words of a choice's part: a word itself, or a random choice of the rule it names."""
    if not part.startswith("<"):
        return [part]
    choices = grammar()[part[1:-1]]
    return [word for piece in choices[rng.integers(len(choices))] for word in _expand(piece, rng)]
