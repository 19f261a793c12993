"""The chunks that a diarization model hears, and which of them belong to which block."""

from dataclasses import dataclass

from serve_app.blocks import BLOCK_S, REACH_S, Block
from serve_app.windows import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of `length` samples, one every `step` samples from the file's start; the last is padded with silence.

    Raises ValueError where blocks cannot be cut so that every chunk lies in one of them.
    """

    length: int
    step: int

    def __post_init__(self) -> None:
        if BLOCK_S * SAMPLE_RATE % self.step:
            raise ValueError(
                f"the model hears a chunk every {self.step / SAMPLE_RATE:g} s, of which blocks of {BLOCK_S} s hold no "
                "whole number; set segmentation_step in the snapshot's config.yaml so that they do"
            )
        if self.length > REACH_S * SAMPLE_RATE:
            raise ValueError(
                f"the model's chunks of {self.length / SAMPLE_RATE:g} s are longer than the {REACH_S} s by which "
                "blocks overlap; use a segmentation model with shorter ones"
            )

    def count(self, samples: int) -> int:
        """Chunks in a file of so many samples, as pyannote's sliding window has them."""
        beyond = max(0, samples - self.length)
        return 1 + -(-beyond // self.step) if samples else 0

    def own(self, block: Block) -> range:
        """The indices of the chunks that begin in a block: none where the block before hears all that is left."""
        first = block.start // self.step
        return range(first, max(first, min(self.count(block.stop), first + BLOCK_S * SAMPLE_RATE // self.step)))

    def reach(self, count: int) -> int:
        """Samples from the start of the first to the end of the last of so many chunks."""
        return (count - 1) * self.step + self.length if count else 0
