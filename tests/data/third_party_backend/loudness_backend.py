"""A transcription back end of another package: it writes down how loud a window is."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serve_app.errors import UnsupportedOption
from serve_app.options import DecodeOptions
from serve_app.stages import Audio, WindowText


class Loudness:
    """Says `loud` or `quiet`; what is loud stands in the snapshot's `threshold.json`."""

    kinds = ("loudness/rms",)  # what `kind:` says of a snapshot that it reads
    compute_types: frozenset[str] = frozenset()  # none named: the config's `compute_type` is not looked at
    libraries = ("numpy",)  # the first one is imported while the snapshot is on its way

    def __init__(self, path: Path, args: object, languages: Sequence[str], threads: int) -> None:
        self._threshold: float = json.loads((path / "threshold.json").read_text())["rms"]
        self.batch_size = 4
        self.languages = tuple(languages) or ("en",)

    def transcribe(
        self, clips: Sequence[Audio], options: DecodeOptions, temperature: float | None = None
    ) -> list[WindowText]:
        """Return one text for each clip; refuse what is not honoured."""
        if options.initial_prompt:
            raise UnsupportedOption("backend loudness takes no prompt; leave it out", "initial_prompt")
        return [self._text(clip, options.language or self.languages[0]) for clip in clips]

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        """Return the probability of each language for each clip."""
        return [{code: 1 / len(self.languages) for code in self.languages} for _ in clips]

    def warm_up(self) -> None:
        """Nothing is slow the first time."""

    def _text(self, clip: Audio, language: str) -> WindowText:
        loud = float(np.sqrt(np.mean(clip**2))) > self._threshold
        return WindowText(" loud" if loud else " quiet", language, compression_ratio=1.0)
