"""Imported by every Python process that has this folder on its path: what the slim image lacks is not here either."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

LACKING = {"ctranslate2", "pyannote", "torch", "torchaudio", "transformers", "whisperx"}
"""Libraries of models; tests/test_images.py holds the image to some of these."""


class _Lacking(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.partition(".")[0] in LACKING:
            raise ModuleNotFoundError(f"No module named '{fullname}' in the slim image", name=fullname)


sys.meta_path.insert(0, _Lacking())
