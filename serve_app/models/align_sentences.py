"""nltk's sentence splitter from the tables in an aligner's snapshot: no search path, no copy, no download."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FALLBACK = "english"
"""Whose tables whisperx takes for a language that punkt has none for."""


@dataclass(frozen=True)
class _Tables:
    """A folder of punkt_tab behind the two calls that nltk makes of its own path pointers.

    Those refuse files with more than one hard link, as a snapshot's are.
    """

    folder: Path

    def join(self, name: str) -> Path:
        return self.folder / name


def sentence_splitter(snapshot: Path, language: str) -> Any:
    """Return punkt with the language's tables; without them with English ones, and without those with none.

    Without tables a full stop after an abbreviation ends a sentence; nothing else changes.
    """
    from nltk.tokenize.punkt import PunktSentenceTokenizer, load_punkt_params
    from whisperx.utils import PUNKT_LANGUAGES

    for name in (PUNKT_LANGUAGES.get(language, FALLBACK), FALLBACK):
        folder = snapshot / "nltk_data" / "tokenizers" / "punkt_tab" / name
        if folder.is_dir():
            return PunktSentenceTokenizer(load_punkt_params(_Tables(folder)))
    return PunktSentenceTokenizer()
