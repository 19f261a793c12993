"""Blocks: a minute of the file and what its last chunks reach into; what a diarization replica hears at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serve_app.stages import Audio
from serve_app.tape import Piece, Tape
from serve_app.windows import SAMPLE_RATE

BLOCK_S = 60
"""A block's own chunks begin in its first minute."""
REACH_S = 10
"""A chunk is 10 s long: the audio of a block reaches so far into the next one."""
BLOCK = BLOCK_S * SAMPLE_RATE
LONGEST = (BLOCK_S + REACH_S) * SAMPLE_RATE

_SILENCE = np.zeros(LONGEST, np.float32)
_SILENCE.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Block:
    """Samples `start` to `stop` of the file; `start` is a multiple of `BLOCK_S`.

    A block owns the chunks that begin in its first `BLOCK_S` seconds; the last one owns all that begin in it, with the
    final shorter one, so that each chunk of the file is one block's.
    """

    start: int
    stop: int
    last: bool


class BlockCutter:
    """Cuts a file into blocks, as pieces of it come; what lies between pieces is silence.

    Holds at most `BLOCK_S + REACH_S` seconds and a piece (5 MB); blocks of nothing but gap share one array of zeros.
    """

    def __init__(self) -> None:
        self._tape = Tape()
        self._start = 0

    def feed(self, piece: Piece) -> list[tuple[Block, Audio]]:
        """Take the next piece; return the blocks that are complete and not the file's last."""
        self._tape.add(piece)
        return list(self._complete())

    def close(self) -> list[tuple[Block, Audio]]:
        """Return the last block; none if no sample came."""
        if self._tape.stop == 0:
            return []
        return [self._cut(self._tape.stop, last=True)]

    def _complete(self) -> Iterator[tuple[Block, Audio]]:
        while self._tape.stop > self._start + LONGEST:
            yield self._cut(self._start + LONGEST, last=False)
            self._start += BLOCK
            self._tape.forget(self._start)

    def _cut(self, stop: int, last: bool) -> tuple[Block, Audio]:
        gap = self._tape.silent(self._start, stop)
        audio = _SILENCE[: stop - self._start] if gap else self._tape.read(self._start, stop)
        return Block(self._start, stop, last), audio
