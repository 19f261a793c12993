"""What every source gives: files by their path in the snapshot, and their origin."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Protocol

from model_store.errors import UnsafePath
from model_store.manifest import Origin, check_path


def _keep() -> None:
    """The default for `Collected.discard`."""


@dataclass(frozen=True)
class Collected:
    """Files of a source. `sha256` holds what the source itself promises of some of them.

    `discard` removes what was made for publishing alone; it is called once all is published.
    """

    origin: Origin
    files: dict[str, Path]
    sha256: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    discard: Callable[[], None] = _keep


class Source(Protocol):
    """A place that holds a model's files."""

    def collect(self) -> Collected:
        """Get the files within reach of this machine; raises SourceError."""


def allowed(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file is wanted: not hidden, and matching a pattern if there are any."""
    hidden = any(part.startswith(".") for part in PurePosixPath(path).parts)
    return not hidden and (not patterns or any(fnmatch(path, pattern) for pattern in patterns))


def files_below(root: Path, patterns: tuple[str, ...], roots: tuple[Path, ...] = ()) -> dict[str, Path]:
    """All wanted regular files below `root`; links may lead to files below `root` or `roots`, nowhere else."""
    found = {}
    inside = [place.resolve() for place in (root, *roots)]
    for directory, below, names in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        _no_links(directory, below)
        for name in names:
            path = Path(directory, name)
            relative = path.relative_to(root).as_posix()
            if allowed(relative, patterns):
                found[check_path(relative)] = _regular(path, inside)
    return dict(sorted(found.items()))


def _no_links(directory: str, names: list[str]) -> None:
    """A linked directory would be left out in silence."""
    for name in names:
        if Path(directory, name).is_symlink():
            raise UnsafePath(f"{directory}/{name} is a link to a directory.", "Replace it by the directory itself.")


def _regular(path: Path, inside: list[Path]) -> Path:
    real = path.resolve()
    if not any(real.is_relative_to(place) for place in inside):
        raise UnsafePath(f"{path} is a link out of its directory.", "Replace it by the file that it leads to.")
    if not real.exists() or not stat.S_ISREG(real.stat().st_mode):
        raise UnsafePath(f"{path} is not a regular file.", "Remove it, or replace it by a file.")
    return real
