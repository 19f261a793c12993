"""Small models and honest fakes for the model store's tests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from model_store import DirectoryStore, FileEntry, Manifest, ModelInfo, NodeCache, Published, publish
from model_store.hashing import hash_all
from model_store.sources import DirectorySource

INFO = ModelInfo("whisper-ct2", "Apache-2.0", ("en",), "int8", 60)
PIECE = 1_000_000
FILES = {"config.json": b'{"a": 1}', "model.bin": bytes(range(256)) * 18_000, "nltk_data/english/x.txt": b""}


def write_model(root: Path, files: dict[str, bytes] = FILES) -> Path:
    """A model's directory with awkward modes."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(0o600)
    return root


def publish_directory(
    root: Path, store: DirectoryStore, name: str = "demo-whisper", revision: str = "v1", info: ModelInfo = INFO
) -> Published:
    """Publish a directory."""
    return publish(DirectorySource(str(root), root), name, store, revision, info)


def blob_of(store: DirectoryStore, published: Published, path: str) -> Path:
    """The store's own file behind one path of a snapshot."""
    entry = next(entry for entry in published.manifest.files if entry.path == path)
    found = store.local_path(entry.sha256)
    assert found is not None
    found.chmod(0o644)
    return found


def content(path: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def in_child(code: str, *args: object) -> subprocess.Popen[str]:
    """Run Python in another process, with this folder on its path."""
    here = str(Path(__file__).parent)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, root])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], env=environment, text=True, stdout=-1, stderr=-1
    )


def cut(root: Path, store: DirectoryStore, published: Published, piece_size: int = PIECE) -> Manifest:
    """Publish the same again in smaller pieces."""
    files = [
        FileEntry(path=entry.path, **asdict(hash_all(root / entry.path, piece_size)))
        for entry in published.manifest.files
    ]
    manifest = Manifest.model_validate({**published.manifest.model_dump(), "files": files})
    store.write_manifest(manifest)
    store.write_ref(manifest.name, "latest", manifest.digest)
    return manifest


def leftovers(cache: NodeCache) -> list[str]:
    """What fetches have left behind in a cache, apart from finished blobs."""
    debris = [*cache.root.glob("staging/*"), *cache.root.glob("partial/*"), *cache.root.rglob("*.tmp")]
    return sorted(str(path) for path in debris)


class CountingStore(DirectoryStore):
    """A directory store that appends a line to `<root>/reads` for each read of a blob: digest, start, length."""

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        with (self.root / "reads").open("a") as reads:
            reads.write(f"{digest} {start} {length}\n")
        return super().iter_blob(digest, start, length)

    def _read_lines(self) -> list[list[str]]:
        path = self.root / "reads"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def reads(self) -> list[str]:
        """The blobs that were begun to be read."""
        return [digest for digest, start, _ in self._read_lines() if start == "0"]

    def bytes_read(self) -> int:
        return sum(int(length) for _, _, length in self._read_lines())


class FaultyStore(CountingStore):
    """A counting store whose reads go through `fault(start, content)`, which may change them, raise or hang."""

    fault: Callable[[int, bytes], bytes] = staticmethod(lambda start, content: content)

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        whole = b"".join(bytes(part) for part in super().iter_blob(digest, start, length))
        yield memoryview(self.fault(start, whole))


class StalledStore(DirectoryStore):
    """A directory store that gives its bytes slowly: each read takes a second."""

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        time.sleep(1)
        return super().iter_blob(digest, start, length)
