"""Staging: each writer's own directory, so that nobody's crash can spoil another's work."""

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.files import make_directory

ABANDONED_AFTER_S = 24 * 3600.0
_OWNER = "owner.json"


@contextmanager
def staging_directory(parent: Path) -> Iterator[Path]:
    """A new directory below `parent`, gone at the end whatever happens."""
    path = make_directory(parent) / uuid.uuid4().hex
    try:
        make_directory(path)
        (path / _OWNER).write_text(json.dumps(_identity(os.getpid())))
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> list[Path]:
    """Remove what dead writers left; what cannot be told dead is kept for a day."""
    removed = []
    with suppress(OSError):
        for path in sorted(parent.iterdir()):
            if path.is_dir() and _is_dead(path):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed


def _is_dead(path: Path) -> bool:
    """Dead for sure if its process is gone from this very machine and container; else judged by age."""
    try:
        owner = json.loads((path / _OWNER).read_text())
        here = _identity(owner["pid"])
        if owner["boot"] == here["boot"] and owner["namespace"] == here["namespace"] and here["boot"]:
            return bool(owner["started"] != here["started"])
        return _age_s(path) > ABANDONED_AFTER_S
    except (OSError, ValueError, KeyError, TypeError):
        return _age_s(path) > ABANDONED_AFTER_S


def _age_s(path: Path) -> float:
    """Seconds since anything below `path` was written."""
    newest = 0.0
    for found in (path, *path.rglob("*")):
        with suppress(OSError):
            newest = max(newest, found.lstat().st_mtime)
    return time.time() - newest


def _identity(pid: int) -> dict[str, str | int]:
    """A process for good: a pid alone is used again, and means another process in another container."""
    return {
        "pid": pid,
        "started": _started(pid),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
    }


def _started(pid: int) -> str:
    """The process's start in clock ticks since boot; empty if there is no such process."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
