"""The files that a back end needs of a snapshot, checked before a library sees them."""

from collections.abc import Sequence
from pathlib import Path

from serve_app.errors import WrongSnapshot


def need_files(path: Path, patterns: Sequence[str], backend: str) -> list[Path]:
    """Return the first file for each glob pattern; raises `WrongSnapshot`, which lists what is missing."""
    found = [min(path.glob(pattern), default=None) for pattern in patterns]
    missing = [pattern for pattern, file in zip(patterns, found, strict=True) if file is None]
    if missing:
        raise WrongSnapshot(
            f"the snapshot at {path} lacks {', '.join(missing)}, which backend {backend} needs; "
            "publish it again with these files (`allow` in the catalog may leave them out)",
            "model",
        )
    return [file for file in found if file is not None]
