"""The files that jobs are about: in a folder, each named by the blake3 hash of its bytes."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from model_store.files import fsync_directory
from serve_app.errors import JobsUnavailable
from serve_app.jobs.sqlite_store import unwritable
from serve_app.listening import Upload
from serve_app.reading import opened

BLOCK = 1 << 20
UNCLAIMED_S = 60.0
"""A file that no job needs is kept this long: one that has just come in may be about to be needed."""
ABANDONED_S = 86_400.0
"""What a process that died left half written is removed after a day."""


class Uploads:
    """Files by their content. Calls block; several processes may hold the same folder."""

    def __init__(self, folder: Path) -> None:
        self._files, self._coming, self._going = (folder / name for name in ("uploads", "coming", "going"))

    def keep(self, upload: Upload) -> str:
        """Keep a file, from its start, and return its hash; it is on the disk then. Raises JobsUnavailable."""
        with self._told_in_our_words(), opened(upload) as file:
            for folder in (self._files, self._coming, self._going):
                folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._coming)
            try:
                digest = _copied(file, descriptor)
                Path(name).replace(self._files / digest)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            fsync_directory(self._files)
            return digest

    def path(self, digest: str) -> Path:
        """Return where a file lies; raises JobsUnavailable where it does not."""
        path = self._files / digest
        if not path.is_file():
            raise JobsUnavailable(
                f"the upload {path} is not there; on a cluster jobs.folder must be a place that all nodes share"
            )
        return path

    def sweep(self, in_use: Callable[[str], bool]) -> list[str]:
        """Remove the files that no job needs, and what was left half written; returns the removed files' hashes.

        One is first set aside, then looked at: a file of the same name that comes in meanwhile is a new one.
        """
        with self._told_in_our_words():
            removed = [path.name for path in _listed(self._files) if not in_use(path.name) and self._removed(path)]
            for path in (*_listed(self._coming), *_listed(self._going)):
                if _age_s(path) > ABANDONED_S:
                    path.unlink(missing_ok=True)
        return removed

    def _removed(self, path: Path) -> bool:
        if _age_s(path) < UNCLAIMED_S:
            return False
        aside = self._going / path.name
        with suppress(FileNotFoundError):  # another process sweeps too
            path.replace(aside)
            if _age_s(aside) < UNCLAIMED_S:
                aside.replace(path)
                return False
            aside.unlink()
            return True
        return False

    @contextmanager
    def _told_in_our_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable(self._files.parent, error) from error


def _copied(file: BinaryIO, descriptor: int) -> str:
    """Copy a file to an open one, which is closed then, and return its hash."""
    digest = blake3()
    with os.fdopen(descriptor, "wb") as target:
        while block := file.read(BLOCK):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _age_s(path: Path) -> float:
    """Return how long a file has been there; one that has gone has been there forever."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
