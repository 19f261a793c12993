"""Staging: each writer's own directory, so that nobody's crash can spoil another's work."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.cache.partial import SHELF, shelve
from model_store.files import make_directory
from model_store.processes import identity, is_gone

ABANDONED_AFTER_S = 24 * 3600.0
CLOCK_TOLERANCE_S = 60.0
_OWNER = "owner.json"


@contextmanager
def staging_directory(parent: Path) -> Iterator[Path]:
    """A new directory below `parent`, gone at the end whatever happens."""
    path = make_directory(parent) / uuid.uuid4().hex
    try:
        make_directory(path)
        (path / _OWNER).write_text(json.dumps(identity(os.getpid())))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> list[Path]:
    """Remove what dead writers left; what cannot be told dead is kept for a day, and so is what can be resumed."""
    removed: list[Path] = []
    with suppress(OSError):
        now = _now(parent)
        removed += abandoned(parent, now)
        shelf = parent.parent / SHELF
        for path in removed:
            with staging_directory(parent) as own:
                # One's own before it is touched: others sweep at the same time.
                with suppress(OSError):
                    os.rename(path, own / "dead")
                shelve(own, shelf)
        with suppress(FileNotFoundError):
            _remove_old(shelf, parent, now)
    return removed


def abandoned(parent: Path, now: float) -> list[Path]:
    """The staging directories of the dead."""
    with suppress(FileNotFoundError):
        return [path for path in sorted(parent.iterdir()) if path.is_dir() and _is_dead(path, now)]
    return []


def _remove_old(shelf: Path, parent: Path, now: float) -> None:
    for path in sorted(shelf.iterdir()):
        if _age_s(path, now) > ABANDONED_AFTER_S:
            with staging_directory(parent) as own, suppress(OSError):
                os.rename(path, own / "dead")


def _is_dead(path: Path, now: float) -> bool:
    """Dead for sure if its process is gone from this very machine and container; else judged by age."""
    try:
        gone = is_gone(json.loads((path / _OWNER).read_text()))
    except (OSError, ValueError, TypeError):
        gone = None
    return _age_s(path, now) > ABANDONED_AFTER_S if gone is None else gone


def _age_s(path: Path, now: float) -> float:
    """Seconds since anything below `path` was written.

    Times to come were written by a clock that has been set back since: age begins with the first look at them.
    """
    newest = 0.0
    for found in (path, *path.rglob("*")):
        with suppress(OSError):
            written = found.lstat().st_mtime
            if written > now + CLOCK_TOLERANCE_S:
                os.utime(found, (now, now), follow_symlinks=False)
            newest = max(newest, min(written, now))
    return now - newest


def _now(parent: Path) -> float:
    """The time by the clock that stamps the files: a file server's may differ from this machine's."""
    try:
        os.utime(parent)
        return parent.stat().st_mtime
    except OSError:
        return time.time()
