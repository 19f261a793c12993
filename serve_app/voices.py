"""What is heard in one block, and who speaks in a whole file: plain arrays and tuples, for any process to hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.transcript import SpeakerTurn


@dataclass(frozen=True, slots=True, eq=False)
class Voices:
    """Who is heard in the chunks that begin in one block; chunks overlap, and each has its own numbering of speakers.

    `first` is the index of the first chunk in the file. `scores` (chunks, frames, speakers) are 0 or 1 as uint8, or
    float32 between them from a model that leaves the threshold to others. `embeddings` are float32 (chunks, speakers,
    dimension). A minute takes about 0.15 MB from the demo model, 0.3 MB from pyannote's community-1.
    """

    first: int
    scores: NDArray[Any]
    embeddings: NDArray[np.float32]

    @property
    def stop(self) -> int:
        """The index of the first chunk that follows."""
        return self.first + len(self.scores)


@dataclass(frozen=True, slots=True)
class Speakers:
    """Who speaks when in a whole file.

    `turns` may overlap. `exclusive` are the same without overlaps: of two who talk at once, the one heard more surely.
    `embeddings` are the speakers' mean voices.
    """

    turns: tuple[SpeakerTurn, ...] = ()
    exclusive: tuple[SpeakerTurn, ...] = ()
    embeddings: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
