"""The alignment model: wav2vec2 CTC over batches of windows, and whisperx's own `align` on what it heard."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.alignment import Placing
from serve_app.config import AlignmentArgs
from serve_app.models.align_result import Reading, one_to_one, segments
from serve_app.models.align_sentences import sentence_splitter
from serve_app.models.devices import load_on, usable_device
from serve_app.models.environment import go_offline, import_without
from serve_app.options import AlignOptions
from serve_app.stages import WindowText
from serve_app.transcript import Segment
from serve_app.windows import SAMPLE_RATE, Window

if TYPE_CHECKING:
    import torch

UNUSED = ("sklearn", "torchvision", "scipy")
"""Libraries that importing `whisperx.alignment` would load for nothing: a second sooner without."""
PLAIN = AlignOptions()
BATCH_SIZES = {"cpu": 1, "cuda": 16}
"""Windows in the model at once where `batch_size` is not set."""


def import_libraries() -> None:
    """Import what an aligner needs, torch among it."""
    import_without("whisperx.alignment", UNUSED)


class Aligner:
    """Places the words of one language; the snapshot carries nltk's punkt files beside the weights."""

    def __init__(self, path: Path, args: AlignmentArgs, language: str, threads: int) -> None:
        go_offline()
        import torch

        from serve_app.models.align_emissions import Emissions
        from serve_app.models.align_whisperx import WhisperxAlign, load_model

        torch.set_num_threads(threads)
        (model, metadata), self.device = load_on(
            args, usable_device(args), lambda device: load_model(path, language, device)
        )
        self.batch_size = args.batch_size or BATCH_SIZES[self.device]
        self._language, self._known = language, metadata["dictionary"]
        self._emissions = Emissions(model, metadata["type"], self.device, self.batch_size)
        self._align = WhisperxAlign(language, self._known, sentence_splitter(path, language))

    def warm_up(self) -> None:
        """Align one word to a second of silence."""
        import numpy as np

        silence = np.zeros(SAMPLE_RATE, np.float32)
        self.align([Placing(silence, Window(0, SAMPLE_RATE), WindowText("a", self._language))])

    def align(self, batch: Sequence[Placing], options: AlignOptions = PLAIN) -> list[list[Segment]]:
        """Return each window's sentences with their words at seconds of the file; a text of nothing has none."""
        heard = self._emissions([placing.clip for placing in batch])
        return [self._place(placing, logits, options) for placing, logits in zip(batch, heard, strict=True)]

    def _place(self, placing: Placing, logits: "torch.Tensor", options: AlignOptions) -> list[Segment]:
        if not placing.text.text.strip():
            return []
        rows = self._align(one_to_one(placing.text.text), len(placing.clip), logits, options)
        return segments(rows, Reading(placing, options, self._known))

    def close(self) -> None:
        """Give the model's memory back; the aligner is of no use afterwards."""
        import torch

        del self._emissions
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
