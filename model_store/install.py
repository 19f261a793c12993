"""Installing one snapshot into the node cache: blobs, then the tree of links, then the mark."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from model_store.cache import NodeCache
from model_store.errors import CacheFull, CacheUnwritable, CorruptBlob, FetchTimeout
from model_store.files import DIRECTORY_MODE, FILE_MODE, NO_SPACE, fsync_directory, hash_file, make_directory
from model_store.manifest import FileEntry, Manifest
from model_store.stores.base import Store, stream_blob


class Installation:
    """One snapshot on its way from a store into a node cache.

    Blobs that are finished stay in the cache, so a fetch that was killed goes on with the next one.
    """

    def __init__(self, manifest: Manifest, store: Store, cache: NodeCache, *, link: bool, deep: bool) -> None:
        self.manifest, self.store, self.cache = manifest, store, cache
        self.link, self.deep = link, deep
        self.progress: Callable[[int, int], None] = lambda done, total: None
        self.deadline = float("inf")  # time.monotonic()
        self.fetched_bytes = 0
        self.verify_s = 0.0
        self._done = 0

    def run(self) -> None:
        """Bring all files, put them in place, mark the snapshot complete."""
        with self._explaining():
            with self.cache.staging() as stage:
                self._require_space()
                tree = make_directory(stage / "snapshot")
                for entry in self.manifest.files:
                    self._place(self._blob(entry, stage), tree / entry.path)
                self._seal(tree)
                self.cache.on_step("staged")
                self.cache.adopt(tree, self.manifest, stage, deep=self.deep)
                self.cache.on_step("renamed")
            self.cache.mark(self.manifest)
            self.cache.on_step("marked")

    def _blob(self, entry: FileEntry, stage: Path) -> Path:
        """The blob in the cache, brought there if it is missing or damaged."""
        path = self.cache.blob_path(entry.sha256)
        if path.is_file():
            if path.stat().st_size == entry.size and self._hash(path) == entry.sha256:
                self._advance(entry.size)
                return path
            path.unlink(missing_ok=True)
        staged = stage / entry.sha256
        if not (self.link and self._link(entry, staged)):
            self._copy(entry, staged)
        make_directory(path.parent)
        os.replace(staged, path)
        fsync_directory(path.parent)
        self.cache.on_step(f"blob:{entry.path}")
        return path

    def _link(self, entry: FileEntry, staged: Path) -> bool:
        """Hard link the store's own file if it is on this file system, readable for all and right."""
        origin = self.store.local_path(entry.sha256)
        try:
            if origin is None:
                return False
            os.link(origin, staged)
        except OSError:
            return False
        if self._hash(staged) == entry.sha256:
            self._advance(entry.size)
            return True
        staged.unlink()
        return False

    def _copy(self, entry: FileEntry, staged: Path) -> None:
        """Copy a blob from the store, hashing on the way."""
        hasher, size = sha256(), 0
        with staged.open("xb") as file:
            for chunk in self._read(entry):
                size += len(chunk)
                if size > entry.size:
                    break
                began = time.perf_counter()
                hasher.update(chunk)
                self.verify_s += time.perf_counter() - began
                file.write(chunk)
                self.fetched_bytes += len(chunk)
                self._advance(len(chunk))
                self.cache.on_step("chunk")
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        if size != entry.size or hasher.hexdigest() != entry.sha256:
            raise self._corrupt(entry, size, hasher.hexdigest())

    def _read(self, entry: FileEntry) -> Iterator[bytes]:
        try:
            yield from stream_blob(self.store, entry.sha256, entry.size)
        except CorruptBlob as error:
            raise type(error)(
                f"{entry.path} of {self.manifest.name}@{self.manifest.revision}: {error.problem}",
                f"Publish it again: model-store publish {self.manifest.name}",
                **{**error.details, "path": entry.path},
            ) from None

    def _place(self, blob: Path, target: Path) -> None:
        """Give a blob its name in the snapshot: a hard link, or a copy where links are not possible."""
        make_directory(target.parent)
        try:
            os.link(blob, target)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            shutil.copyfile(blob, target)
            target.chmod(FILE_MODE)

    def _seal(self, tree: Path) -> None:
        for directory in (tree, *(path for path in tree.rglob("*") if path.is_dir())):
            directory.chmod(DIRECTORY_MODE)
            fsync_directory(directory)

    def _hash(self, path: Path) -> str:
        began = time.perf_counter()
        digest = hash_file(path)
        self.verify_s += time.perf_counter() - began
        return digest

    def _advance(self, count: int) -> None:
        self._done += count
        self.progress(self._done, self.manifest.size)
        if time.monotonic() > self.deadline:
            raise FetchTimeout(
                f"Fetching {self.manifest.name}@{self.manifest.revision} ran out of time after {self._done} of "
                f"{self.manifest.size} bytes.",
                "Fetch again: finished files are kept; or allow more time.",
            )

    def _require_space(self) -> None:
        """Refuse what cannot fit before writing a byte of it."""
        missing = {e.sha256: e.size for e in self.manifest.files if not self.cache.blob_path(e.sha256).is_file()}
        needed, free = sum(missing.values()), shutil.disk_usage(self.cache.root).free
        if needed > free and not self.link:
            raise self._full(needed, free)

    def _full(self, needed: int, free: int) -> CacheFull:
        return CacheFull(
            f"The node cache at {self.cache.root} is full: {self.manifest.name}@{self.manifest.revision} needs "
            f"{needed} bytes, {free} are free.",
            f"Remove snapshots from {self.cache.root / 'snapshots'} and their blobs, or set RAYSCRIBE_CACHE to a "
            "larger disk.",
            needed=needed,
            free=free,
        )

    def _corrupt(self, entry: FileEntry, size: int, got: str) -> CorruptBlob:
        problem = f"{size} bytes instead of {entry.size}" if size != entry.size else f"sha256 {got}"
        return CorruptBlob(
            f"{entry.path} of {self.manifest.name}@{self.manifest.revision} is damaged in the store at "
            f"{self.store.url}: expected sha256 {entry.sha256}, got {problem}.",
            f"Publish it again, which replaces damaged blobs: model-store publish {self.manifest.name}",
            path=entry.path,
            expected=entry.sha256,
            got=got,
        )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Bare OSErrors here are the cache's: the store raises its own kind."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                free = 0
                with suppress(OSError):
                    free = shutil.disk_usage(self.cache.root).free
                raise self._full(max(self.manifest.size - self._done, 0), free) from error
            raise CacheUnwritable(
                f"The node cache at {self.cache.root} cannot be written by uid {os.getuid()}: {error}.",
                "Give this user the directory, or set RAYSCRIBE_CACHE to one it may write.",
            ) from error
