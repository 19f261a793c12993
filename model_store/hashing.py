"""Hashes of files: sha256 names a blob, blake3 checks it quickly, and each of its pieces, which come in any order."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from model_store.files import CHUNK
from model_store.manifest import PIECE

_threads = blake3.AUTO


def _use_one_thread() -> None:
    # blake3's threads do not survive a fork, and the child would wait for them for ever.
    global _threads
    _threads = 1


os.register_at_fork(after_in_child=_use_one_thread)


@dataclass(frozen=True)
class Hashes:
    """A file's size in bytes and all its hashes, as a manifest's entry holds them."""

    size: int
    sha256: str
    blake3: str
    pieces: tuple[str, ...]
    piece_size: int = PIECE


def hash_all(path: Path, piece_size: int = PIECE) -> Hashes:
    """Every hash of a file, in one pass over its bytes."""
    whole, quick, pieces, size = hashlib.sha256(), blake3(), [], 0
    with path.open("rb") as file:
        buffer = bytearray(piece_size)
        while count := file.readinto(buffer):  # buffered: short only at the end
            part = memoryview(buffer)[:count]
            pieces.append(blake3(part).hexdigest())
            whole.update(part)
            quick.update(part)
            size += count
    return Hashes(size, whole.hexdigest(), quick.hexdigest(), tuple(pieces) if len(pieces) > 1 else (), piece_size)


def quick_hash(path: Path) -> str:
    """The blake3 of a file, over all cores (over one in a forked process)."""
    # Not mapped into memory: a disk's read error would then kill the process instead of raising OSError.
    hasher, buffer = blake3(max_threads=_threads), bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(memoryview(buffer)[:count])
    return hasher.hexdigest()
