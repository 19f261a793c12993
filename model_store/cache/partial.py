"""Part-finished blobs: the bytes so far, and a journal of the pieces that are right, so that a killed fetch goes on.

staging/<writer>/parts/<blob>/   owned by that writer alone
partial/<blob>/                  left by a fetch that ended, owned by nobody: whoever renames it into staging owns it
    data                         the blob's bytes, each piece in its place
    journal                      a line per finished piece; a hint, as the piece's hash decides
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

from blake3 import blake3

from model_store.files import FILE_MODE, fsync_directory, make_directory, start_writing_back
from model_store.manifest import FileEntry, Piece

SHELF = "partial"
_PARTS = "parts"


class Part:
    """One blob on its way to `target` in a cache, written by several threads of one process."""

    def __init__(self, entry: FileEntry, stage: Path, shelf: Path, target: Path) -> None:
        self.entry, self.target = entry, target
        self.shelved = shelf / entry.sha256
        self.pieces = entry.checked_pieces()
        self.path = stage / _PARTS / entry.sha256
        self._lock = Lock()
        self._left = len(self.pieces)
        self._claimed: frozenset[int] = frozenset()
        self._descriptors: list[int] = []

    def open(self) -> None:
        """Take over what an ended fetch left on the shelf, or begin; does nothing when it is open."""
        with self._lock:
            if self._descriptors:
                return
            make_directory(self.path.parent)
            try:
                os.rename(self.shelved, self.path)
                self._claimed = journalled(self.path)
                self._open(os.O_RDWR)
            except OSError:  # nothing there, or another user's: begin anew
                self.close()
                shutil.rmtree(self.path, ignore_errors=True)
                self._claimed = frozenset()
                make_directory(self.path)
                self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def _open(self, flags: int) -> None:
        for name, more in (("data", 0), ("journal", os.O_APPEND)):
            self._descriptors.append(os.open(self.path / name, flags | more | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))

    def recover(self, index: int) -> bool:
        """Have a piece from this disk if it is right: kept from before, or had by another fetch."""
        piece = self.pieces[index]
        if index in self._claimed and _is_right(os.pread(self._descriptors[0], piece.length, piece.start), piece):
            return True
        for copy in self._copies(index):
            with suppress(OSError):
                content = _read(copy, piece)
                if _is_right(content, piece):
                    self.write(piece.start, memoryview(content))
                    return True
        return False

    def _copies(self, index: int) -> Iterator[Path]:
        """Files of other fetches that may hold a piece; they may be at work, so only the hash is believed."""
        yield self.target
        for other in self.path.parents[2].glob(f"*/{_PARTS}/{self.entry.sha256}"):
            if other != self.path and index in journalled(other):
                yield other / "data"

    def write(self, start: int, content: memoryview) -> None:
        """Put bytes in their place."""
        while content:
            written = os.pwrite(self._descriptors[0], content, start)
            content, start = content[written:], start + written

    def note(self, index: int) -> bool:
        """Write down that a piece is right; says whether it was the last one."""
        if index not in self._claimed:
            os.write(self._descriptors[1], b"%08d\n" % index)
            start_writing_back(self._descriptors[0], self.pieces[index].start, self.pieces[index].length)
        with self._lock:
            self._left -= 1
            return self._left == 0

    def finish(self, on_step: Callable[[str], None]) -> None:
        """Make the blob a file of the cache: all of its pieces are there."""
        os.truncate(self._descriptors[0], self.entry.size)
        os.fchmod(self._descriptors[0], FILE_MODE)
        os.fsync(self._descriptors[0])
        on_step("synced")
        make_directory(self.target.parent)
        os.replace(self.path / "data", self.target)
        fsync_directory(self.target.parent)
        on_step(f"blob:{self.entry.path}")
        self.close()
        with suppress(OSError):
            os.rename(self.shelved, self.path / "useless")
        shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Close its files."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _is_right(content: bytes, piece: Piece) -> bool:
    return blake3(content).hexdigest() == piece.blake3


def _read(path: Path, piece: Piece) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), piece.length, piece.start)


def journalled(part: Path) -> frozenset[int]:
    """The pieces that a part claims to have; a line that a crash cut off counts for nothing."""
    try:
        lines = (part / "journal").read_bytes().split(b"\n")[:-1]
    except OSError:
        return frozenset()
    return frozenset(int(line) for line in lines if len(line) == 8 and line.isdigit())


def shelve(stage: Path, shelf: Path) -> None:
    """Keep the parts below a staging directory that one owns, for the next fetch to go on with."""
    for journal in sorted(stage.rglob(f"{_PARTS}/*/journal")):
        part, rival = journal.parent, shelf / journal.parent.name
        if (part / "data").exists() and len(journalled(part)) > len(journalled(rival)):
            make_directory(shelf)
            # By renames alone: another process may be taking or leaving the same part.
            with suppress(OSError):
                os.rename(rival, part.parent / f"{part.name}.old")
            with suppress(OSError):
                os.rename(part, rival)


def bytes_kept(entry: FileEntry, part: Path) -> int:
    """How much of a blob a part claims to have."""
    pieces = entry.checked_pieces()
    return sum(pieces[index].length for index in journalled(part) if index < len(pieces))


def bytes_here(entry: FileEntry, target: Path, staging: Path) -> int:
    """How much of a blob the cache has, as far as the fetch that is furthest says."""
    if target.is_file():
        return entry.size
    parts = [*staging.glob(f"*/{_PARTS}/{entry.sha256}"), staging.parent / SHELF / entry.sha256]
    return max(bytes_kept(entry, part) for part in parts)
