"""Files that are whole or not there: write under a temporary name, fsync, rename, fsync the directory."""

import ctypes
import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

CHUNK = 4 * 1024 * 1024
FILE_MODE = 0o444
DIRECTORY_MODE = 0o755
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS,)
_SYNC_FILE_RANGE_WRITE = 2


def make_directory(path: Path) -> Path:
    """Create `path` and its parents, readable by everybody whatever the umask."""
    if not path.is_dir():
        make_directory(path.parent)
        try:
            path.mkdir()
            path.chmod(DIRECTORY_MODE)
        except FileExistsError:
            if not path.is_dir():
                raise
    return path


def entries(folder: Path) -> list[Path]:
    """What is in a directory, sorted; nothing if it is gone (a glob would fail if that happens while it looks)."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def fsync_directory(path: Path) -> None:
    """Make renames inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make a file's bytes survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_writing_back(descriptor: int, start: int, length: int) -> None:
    """Let the kernel begin to write bytes to the disk, so that the fsync at the end finds little left; only a hint."""
    sync_file_range = _sync_file_range()
    if sync_file_range is not None:
        sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


@cache
def _sync_file_range() -> Any:
    return getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux has it


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put `content` at `path` in one step; readers see the old file or the new one."""
    make_directory(path.parent)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, `CHUNK` at a time."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def hash_file(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
