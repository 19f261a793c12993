"""Blocks: a long file in stretches of a minute, so that its speakers can be heard on any replica."""

from dataclasses import dataclass

BLOCK_S = 60
"""A block's own chunks begin in its first so many seconds."""
REACH_S = 10
"""A block's audio reaches so many seconds further, so that its last chunk is whole."""


@dataclass(frozen=True, slots=True)
class Block:
    """Samples `start` to `stop` of the file; after the `last` one nothing follows."""

    start: int
    stop: int
    last: bool
