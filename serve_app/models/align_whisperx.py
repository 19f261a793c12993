"""whisperx's `align` for one window whose emissions are there already, without its slow loops and its downloads."""

import logging
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from whisperx import alignment as theirs

from model_store.sources.torchaudio import BUNDLES
from serve_app.models.align_result import Row
from serve_app.options import AlignOptions
from serve_app.windows import SAMPLE_RATE

SILENT = logging.Logger("silent", logging.CRITICAL)


def load_model(path: Path, language: str, device: str) -> tuple[Any, dict[str, Any]]:
    """Return the model of a snapshot, and whisperx's metadata: `type` and `dictionary` (character → label).

    The snapshot is a directory of transformers, or holds the one file of a torchaudio bundle that whisperx knows.
    """
    bundle = next((name for name, file in BUNDLES.items() if (path / file).is_file()), None)
    model, metadata = theirs.load_align_model(language, device, bundle or str(path), str(path), model_cache_only=True)
    return model, metadata


class WhisperxAlign:
    """All text handling is whisperx's own function; it meets our emissions, sentence splitter and two faster loops."""

    def __init__(self, language: str, dictionary: dict[str, int], sentences: Any) -> None:
        self._metadata = {"language": language, "dictionary": dictionary, "type": "huggingface"}
        self._align = rebound(
            theirs.align,
            nltk_load=lambda _: sentences,
            get_trellis=get_trellis,
            backtrack=backtrack,
            logger=SILENT,  # theirs writes what was said into the log
        )

    def __call__(self, text: str, samples: int, logits: torch.Tensor, options: AlignOptions) -> list[Row]:
        """Return sentences at seconds of the clip; `logits` are the clip's, shape (frames, labels)."""
        whole = {"start": 0.0, "end": samples / SAMPLE_RATE, "text": text}
        aligned = self._align(
            [whole],
            lambda _: SimpleNamespace(logits=logits[None]),
            self._metadata,
            torch.zeros(1).expand(1, samples),
            "cpu",
            options.interpolate_method,
            options.chars,
        )
        rows: list[Row] = aligned["segments"]
        return rows


def rebound(function: Any, **names: object) -> Any:
    """Return a function that finds other things under some global names; the function's own module stays as it is.

    Raises AttributeError where the function uses no such name: another version of the library.
    """
    if unknown := set(names) - set(function.__code__.co_names):
        raise AttributeError(f"{function.__module__}.{function.__qualname__} does not use {sorted(unknown)}")
    return FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__)


def get_trellis(emission: torch.Tensor, tokens: list[int], blank_id: int = 0) -> torch.Tensor:
    """Return whisperx's trellis, bit for bit: shape (frames + 1, tokens + 1); numpy's calls cost a tenth of torch's."""
    trellis = np.empty((len(emission) + 1, len(tokens) + 1), np.float32)
    trellis[0, 0] = 0
    trellis[1:, 0] = torch.cumsum(emission[:, blank_id], 0).numpy()
    trellis[0, -len(tokens) :] = -np.inf
    trellis[-len(tokens) :, 0] = np.inf
    stay, change = emission[:, blank_id].numpy(), emission[:, tokens].numpy()
    with np.errstate(invalid="ignore"):  # a text of more tokens than frames adds inf to -inf, in theirs too
        for t in range(len(emission)):
            np.maximum(trellis[t, 1:] + stay[t], trellis[t, :-1] + change[t], out=trellis[t + 1, 1:])
    return torch.from_numpy(trellis)


def backtrack(trellis: torch.Tensor, emission: torch.Tensor, tokens: list[int], blank_id: int = 0) -> Any:
    """Return whisperx's path, a Point for each frame from the text's first to its last; None if there is none."""
    table, stay, change = trellis.numpy(), emission[:, blank_id].numpy(), emission[:, tokens].numpy()
    j = len(tokens)
    path: list[Any] = []
    with np.errstate(invalid="ignore"):
        for t in range(int(np.argmax(table[:, j])), 0, -1):
            changed = bool(table[t - 1, j - 1] + change[t - 1, j - 1] > table[t - 1, j] + stay[t - 1])
            path.append(theirs.Point(j - 1, t - 1, _probability(change[t - 1, j - 1] if changed else stay[t - 1])))
            j -= changed
            if j == 0:
                return path[::-1]
    return None


def _probability(log: NDArray[np.float32]) -> float:
    return float(np.exp(log))
