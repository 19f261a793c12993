"""Snapshots to be fetched: one big file of random bytes and the small ones that lie beside a Whisper model's."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.store.bench import Bench
from model_store import DirectoryStore, Manifest, ModelInfo, publish
from model_store.sources import DirectorySource

SMALL = {
    "config.json": 2_400,
    "preprocessor_config.json": 340,
    "tokenizer.json": 2_480_000,
    "vocabulary.json": 1_070_000,
}
BLOCK = 16 * 1024 * 1024
REVISION = "v1"


@dataclass(frozen=True)
class Model:
    """A model that is published in a directory."""

    root: Path
    manifest: Manifest

    @property
    def store(self) -> DirectoryStore:
        """The directory as a store."""
        return DirectoryStore(self.root)

    @property
    def name(self) -> str:
        """Its reference, pinned to its digest."""
        return f"{self.manifest.name}@sha256:{self.manifest.digest}"

    @property
    def tagged(self) -> str:
        """Its reference by tag, which only the store can resolve."""
        return f"{self.manifest.name}@{REVISION}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return self.manifest.size

    def blobs(self) -> dict[str, Path]:
        """The store's file behind each path."""
        return {entry.path: path for entry in self.manifest.files if (path := self.store.local_path(entry.sha256))}

    def order(self) -> dict[str, str]:
        """What `benchmarks.store.server` takes: the blobs by path."""
        return {path: str(blob) for path, blob in self.blobs().items()}


def model(bench: Bench, size: float) -> Model:
    """A published model of about `size` bytes at this scale; made once for a work folder."""
    count = bench.bytes(size)
    store = DirectoryStore(bench.work / "stores" / str(count))
    digest = store.read_ref("bench", REVISION) if store.root.is_dir() else None
    manifest = store.read_manifest(digest) if digest else _publish(bench.empty("made"), count, store)
    found = Model(store.root, manifest)
    for blob in found.blobs().values():
        read_through(blob)
    return found


def _publish(made: Path, size: int, store: DirectoryStore) -> Manifest:
    """Write the files and publish them."""
    files = {"model.bin": size, **{name: min(count, size // 8) for name, count in SMALL.items()}}
    for name, count in files.items():
        with (made / name).open("wb") as file:
            for start in range(0, count, BLOCK):
                file.write(os.urandom(min(BLOCK, count - start)))
    published = publish(DirectorySource(str(made), made), "bench", store, REVISION, ModelInfo("whisper-ct2"))
    shutil.rmtree(made)
    return published.manifest


def read_through(path: Path) -> None:
    """Bring a file into the page cache, as far as it fits."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(BLOCK)
        while file.readinto(buffer):
            pass


def drop_from_page_cache(path: Path) -> None:
    """Let the next reading of a file come from the disk; needs no rights and leaves other files alone."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_json(path: Path) -> dict[str, object]:
    """A JSON object, or an empty one if there is none."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    return dict(found)
