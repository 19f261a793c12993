"""The alignment model: wav2vec2 CTC through whisperx's own `align`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serve_app.config import AlignmentArgs
from serve_app.models.devices import torch_device
from serve_app.models.environment import go_offline
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, Word
from serve_app.windows import SAMPLE_RATE, Window


class Aligner:
    """Places the words of one language; the snapshot carries nltk's punkt files beside the weights."""

    def __init__(self, path: Path, args: AlignmentArgs, language: str, threads: int) -> None:
        go_offline()
        import nltk
        import torch
        from whisperx.alignment import align, load_align_model

        torch.set_num_threads(threads)
        self._nltk_data = private_copy(path / "nltk_data")
        nltk.data.path.insert(0, self._nltk_data.name)
        self._device = torch_device(args.device)
        self._align = align
        self._model, self._metadata = load_align_model(language, self._device, str(path), model_cache_only=True)
        self._model.eval()

    def warm_up(self) -> None:
        """Align one word to a second of silence."""
        import numpy as np

        silence = np.zeros(SAMPLE_RATE, np.float32)
        self.align(silence, Window(0, SAMPLE_RATE), WindowText("a", self._metadata["language"]))

    def align(self, clip: Audio, window: Window, text: WindowText) -> list[Segment]:
        """Return a window's sentences with their words at seconds of the file; `clip` is the window's audio."""
        whole = {"start": 0.0, "end": len(clip) / SAMPLE_RATE, "text": text.text}
        aligned = self._align([whole], self._model, self._metadata, _writable(clip), self._device)
        return list(_segments(aligned["segments"], window, text))


def private_copy(nltk_data: Path) -> TemporaryDirectory[str]:
    """Copy punkt's few kilobytes out of the snapshot: nltk refuses files with more than one hard link, as ours have."""
    copy = TemporaryDirectory(prefix="nltk-")
    shutil.copytree(nltk_data, copy.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return copy


def _writable(clip: Audio) -> Audio:
    """Copy a window: torch warns about memory that it may not write to."""
    return clip.copy()


def _segments(rows: list[dict[str, Any]], window: Window, text: WindowText) -> Iterator[Segment]:
    position = 0
    for row in rows:
        sentence = row["text"].strip()
        begin = max(text.text.find(sentence, position), position)
        position = begin + len(sentence)
        yield text.segment(
            window,
            window.start_s + row["start"],
            window.start_s + row["end"],
            sentence,
            _tokens_within(text, begin, position),
            tuple(_word(word, window.start_s) for word in row["words"]),
        )


def _word(row: dict[str, Any], offset: float) -> Word:
    start, end = row.get("start"), row.get("end")
    return Word(
        text=row["word"],
        start=None if start is None else round(offset + float(start), 3),
        end=None if end is None else round(offset + float(end), 3),
        score=None if row.get("score") is None else float(row["score"]),
    )


def _tokens_within(text: WindowText, begin: int, end: int) -> tuple[int, ...]:
    return tuple(token for token, stop in zip(text.tokens, text.token_ends, strict=True) if begin < stop <= end)
