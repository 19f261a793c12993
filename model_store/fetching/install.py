"""Installing one snapshot into the node cache: blobs, then the tree of links, then the mark."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_store.cache.hub_layout import HubCache
from model_store.cache.node_cache import NodeCache
from model_store.cache.partial import SHELF, Part, bytes_kept, shelve
from model_store.errors import CacheError, CacheFull, CacheUnwritable
from model_store.fetching.patience import Patience
from model_store.fetching.transfer import MOST_CONNECTIONS, Transfer
from model_store.files import DIRECTORY_MODE, FILE_MODE, NO_SPACE, fsync_directory, fsync_file, make_directory
from model_store.hashing import quick_hash
from model_store.manifest import FileEntry, Manifest
from model_store.progress import Progress, ignore_progress
from model_store.stores.base import Store

ATTEMPTS = 3


class Installation:
    """One snapshot on its way from a store into a node cache.

    Blobs that are finished stay in the cache and parts of others on its shelf: a fetch that was cut off goes on with
    the next one.
    """

    def __init__(
        self, manifest: Manifest, store: Store, cache: NodeCache, patience: Patience, *, link: bool, deep: bool
    ) -> None:
        self.manifest, self.store, self.cache, self.patience = manifest, store, cache, patience
        self.link, self.deep = link, deep
        self.connections = MOST_CONNECTIONS
        self.alone = True
        self.progress: Progress = ignore_progress
        self.fetched_bytes = 0
        self.verify_s = 0.0
        self._hub_cache = HubCache(manifest)
        self._done = 0

    def run(self) -> None:
        """Bring all files, put them in place, mark the snapshot complete."""
        with self._explaining():
            with self.cache.staging() as stage:
                self._bring(stage)
                tree = self._tree(stage)
                self.cache.on_step("staged")
                self.cache.adopt(tree, self.manifest, stage, deep=self.deep)
                self.cache.on_step("renamed")
            self.cache.mark(self.manifest)
            self.cache.on_step("marked")

    def _tree(self, stage: Path) -> Path:
        """The snapshot's directory, of links to the blobs; if an eviction took one in between, it is brought again."""
        for attempt in range(ATTEMPTS):
            tree = make_directory(stage / f"snapshot-{attempt}")
            try:
                for entry in self.manifest.files:
                    self._place(self.cache.blob_path(entry.sha256), tree / entry.path)
            except FileNotFoundError:
                self._bring(stage)
                continue
            self._seal(tree)
            return tree
        raise CacheError(
            f"Blobs of {self.manifest.name} vanish from the node cache at {self.cache.root} as they are fetched.",
            "The cache is too small for what runs here: raise RAYSCRIBE_CACHE_QUOTA, or find who deletes in it.",
        )

    def _bring(self, stage: Path) -> None:
        """All blobs into the cache, big ones first."""
        wanted = sorted({e.sha256: e for e in self.manifest.files}.values(), key=lambda e: -e.size)
        missing = [entry for entry in wanted if not self._is_here(entry)]
        self._done = 0
        self._advance(self.manifest.size - sum(entry.size for entry in missing))
        if self.link:
            missing = [entry for entry in missing if not self._linked(entry, stage)]
        shelf = self.cache.root / SHELF
        self.cache.make_room(sum(entry.size - bytes_kept(entry, shelf / entry.sha256) for entry in missing))
        missing = [entry for entry in missing if not self._adopted(entry, stage)]
        try:
            self._transfer([Part(entry, stage, shelf, self.cache.blob_path(entry.sha256)) for entry in missing])
        except OSError:
            # What is kept for later must not fill a disk.
            raise
        except BaseException:
            shelve(stage, shelf)
            raise

    def _transfer(self, parts: list[Part]) -> None:
        transfer = Transfer(self.manifest, self.store, self.patience)
        transfer.connections, transfer.on_step, transfer.advance = self.connections, self.cache.on_step, self._advance
        self.patience.progress()  # hashing and eviction took their time, not the store
        try:
            transfer.run(parts, shuffle=not self.alone)
        finally:
            self.fetched_bytes += transfer.fetched_bytes
            self.verify_s += transfer.hash_s

    def _is_here(self, entry: FileEntry) -> bool:
        """Whether the cache has a blob; a damaged one is removed."""
        path = self.cache.blob_path(entry.sha256)
        with suppress(FileNotFoundError):  # an eviction may be moving it aside
            if path.stat().st_size == entry.size and self._hash(path) == entry.blake3:
                return True
            path.unlink()
        return False

    def _adopted(self, entry: FileEntry, stage: Path) -> bool:
        """Copy a file that the Hugging Face cache of this machine has, if it is the right one."""
        staged = stage / "adopted"
        for origin in self._hub_cache.local_candidates(entry):
            with suppress(OSError):
                shutil.copyfile(origin, staged)
                if self._hash(staged) == entry.blake3:
                    staged.chmod(FILE_MODE)
                    fsync_file(staged)
                    self._keep(staged, entry)
                    return True
        return False

    def _linked(self, entry: FileEntry, stage: Path) -> bool:
        """Hard link the store's own file if it is on this file system, readable for all and right."""
        origin = self.store.local_path(entry.sha256)
        staged = stage / "linked"
        try:
            if origin is None:
                return False
            os.link(origin, staged)
        except OSError:
            return False
        if self._hash(staged) != entry.blake3:
            staged.unlink()
            return False
        self._keep(staged, entry)
        return True

    def _keep(self, staged: Path, entry: FileEntry) -> None:
        """Give a whole file that did not come from the store's pieces its place among the blobs."""
        target = self.cache.blob_path(entry.sha256)
        make_directory(target.parent)
        os.replace(staged, target)
        fsync_directory(target.parent)
        self._advance(entry.size)
        self.cache.on_step(f"blob:{entry.path}")

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
        digest = quick_hash(path)
        self.verify_s += time.perf_counter() - began
        return digest

    def _advance(self, count: int) -> None:
        self._done += count
        self.progress(self._done, self.manifest.size)
        self.patience.progress()
        self.patience.check()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Bare OSErrors here are the cache's: the store raises its own kind."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self._full() from error
            raise CacheUnwritable(
                f"The node cache at {self.cache.root} cannot be written by uid {os.getuid()}: {error}.",
                "Give this user the directory, or set RAYSCRIBE_CACHE to one it may write.",
            ) from error

    def _full(self) -> CacheFull:
        needed, free = max(self.manifest.size - self._done, 0), 0
        with suppress(OSError):
            free = shutil.disk_usage(self.cache.root).free
        return CacheFull(
            f"The node cache at {self.cache.root} is full: {self.manifest.name}@{self.manifest.revision} needs "
            f"{needed} bytes more, {free} are free.",
            "Remove snapshots from it, or set RAYSCRIBE_CACHE to a larger disk.",
            needed=needed,
            free=free,
        )
