"""Hashes of files: sha256 names a blob, blake3 checks it quickly, a sha256 per piece lets parts come in any order."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from model_store.manifest import PIECE


@dataclass(frozen=True)
class Hashes:
    """A file's size in bytes and all its hashes, as a manifest's entry holds them."""

    size: int
    sha256: str
    blake3: str
    pieces: tuple[str, ...]


def hash_all(path: Path) -> Hashes:
    """Every hash of a file, in one pass over its bytes."""
    whole, quick, pieces, size = hashlib.sha256(), blake3(), [], 0
    with path.open("rb") as file:
        buffer = bytearray(PIECE)
        while count := file.readinto(buffer):
            part = memoryview(buffer)[:count]
            pieces.append(hashlib.sha256(part).hexdigest())
            whole.update(part)
            quick.update(part)
            size += count
    return Hashes(size, whole.hexdigest(), quick.hexdigest(), tuple(pieces) if len(pieces) > 1 else ())


def quick_hash(path: Path) -> str:
    """The blake3 of a file, over all cores."""
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return hasher.hexdigest()
