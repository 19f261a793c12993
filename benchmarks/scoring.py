"""How far a transcript is from what was said."""

import re
from collections.abc import Sequence


def plain(text: str) -> list[str]:
    """Return lower-case words without punctuation."""
    return re.findall(r"[a-z0-9']+", text.lower())


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return the least number of substitutions, deletions and insertions between two word lists."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Return edits per word said."""
    return edits(said, heard) / len(said)
