"""What can be converted, from which files, and by which libraries."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Literal, cast, get_args

from model_store.errors import ConversionFailed, UsageError

To = Literal["whisper-ct2", "safetensors"]
ComputeType = Literal[
    "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"
]
COMPUTE_TYPES: tuple[str, ...] = get_args(ComputeType)
LIBRARIES = {"whisper-ct2": ("ctranslate2", "transformers", "torch"), "safetensors": ("safetensors", "torch")}
WEIGHTS, SAFE_WEIGHTS = "pytorch_model.bin", "model.safetensors"
SAYS = "model-store-error: "
"""Begins the line in which the child process tells why it failed."""
ALLOW = {
    "whisper-ct2": ("*.json", "*.txt", "model.safetensors", "model-*-of-*.safetensors"),
    "safetensors": ("*.json", "*.txt", "*.md", SAFE_WEIGHTS, WEIGHTS),
}
"""The files to take from a source that nobody chose among; hubs keep the same weights in up to five formats."""


@dataclass(frozen=True)
class Recipe:
    """What to convert to: `whisper-ct2` (Transformers' Whisper, weights kept as `compute_type`), or `safetensors`
    (PyTorch's pickled weights, number for number).
    """

    to: To
    compute_type: str = ""

    @classmethod
    def of(cls, to: str, compute_type: str = "") -> "Recipe":
        """A recipe by its name; raises UsageError if there is no such, or not with this compute type."""
        if to not in LIBRARIES:
            raise UsageError(f"Nothing converts to {to!r}.", f"Conversions are: {', '.join(LIBRARIES)}.")
        if to == "whisper-ct2" and compute_type not in COMPUTE_TYPES:
            wrong = f"{compute_type!r} is not one" if compute_type else "none is given"
            raise UsageError(
                f"A conversion to whisper-ct2 needs a compute type; {wrong}.",
                f"Choose one of: {', '.join(COMPUTE_TYPES)}.",
            )
        return cls(cast(To, to), compute_type if to == "whisper-ct2" else "")

    @property
    def allow(self) -> tuple[str, ...]:
        """Glob patterns of the files to take if nothing else is said."""
        return ALLOW[self.to]

    def __str__(self) -> str:
        return f"{self.to} {self.compute_type}".strip()

    def tools(self) -> dict[str, str]:
        """The recipe and the versions of what carries it out; raises ConversionFailed if something is missing."""
        try:
            return {"recipe": str(self), **{name: version(name) for name in LIBRARIES[self.to]}}
        except PackageNotFoundError as error:
            raise ConversionFailed(
                f"Converting to {self.to} needs the Python package {error.name}, which is not installed here.",
                f"Install it: pip install {' '.join(LIBRARIES[self.to])}",
                recipe=str(self),
            ) from None

    def kept(self, files: dict[str, Path]) -> dict[str, Path]:
        """The source's files that are published as they are."""
        if self.to == "whisper-ct2":
            return {}
        return {path: file for path, file in files.items() if PurePosixPath(path).name != WEIGHTS}
