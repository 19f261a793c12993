"""The node cache: a machine's own copy of the snapshots that its replicas use.

blobs/sha256/ab/<digest>    files by content, 0444
snapshots/<digest>/         one directory per manifest, hard links to the blobs
manifests/<digest>.json     written last: the mark that its snapshot is complete
refs/<name>/<tag>           the last answers of the store, for when it cannot be reached
staging/  locks/            work under way
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from model_store.errors import CacheError, ManifestError
from model_store.files import fsync_directory, make_directory, write_atomically
from model_store.manifest import Manifest, read_manifest
from model_store.references import is_digest
from model_store.staging import staging_directory, sweep
from model_store.verify import bad_files

log = logging.getLogger(__name__)


def _ignore_step(step: str) -> None:
    """The default for `NodeCache.on_step`."""


class NodeCache:
    """A node cache in a directory of this machine. `on_step` is told each step of a fetch (tests break there)."""

    def __init__(self, root: Path | str, on_step: Callable[[str], None] = _ignore_step) -> None:
        self.root = Path(root).expanduser().absolute()
        self.on_step = on_step

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def snapshot_path(self, digest: str) -> Path:
        """Where the snapshot of a manifest lies, or would."""
        return self.root / "snapshots" / digest

    def lookup(self, digest: str, *, deep: bool = False) -> Manifest | None:
        """The manifest of a complete snapshot, or None: files are compared by size, with `deep` by hash."""
        try:
            manifest = read_manifest((self.root / "manifests" / f"{digest}.json").read_bytes(), digest)
        except (OSError, ManifestError):
            return None
        return None if self.damage(manifest, deep=deep) else manifest

    def damage(self, manifest: Manifest, *, deep: bool) -> bool:
        """Whether any file of the snapshot is missing or wrong; stops at the first."""
        return next(bad_files(self.snapshot_path(manifest.digest), manifest, deep=deep), None) is not None

    def adopt(self, tree: Path, manifest: Manifest, stage: Path, *, deep: bool) -> None:
        """Move a finished tree into place; keep the one that is there already if it is whole."""
        target = self.snapshot_path(manifest.digest)
        make_directory(target.parent)
        for attempt in range(3):
            if _renamed(tree, target):
                break
            marked = self.lookup(manifest.digest, deep=deep) is not None
            if marked or not self.damage(manifest, deep=True):
                break
            # Files that a replica has open stay readable: only names move.
            with suppress(FileNotFoundError):
                os.rename(target, stage / f"replaced-{attempt}")
        else:
            raise CacheError(f"Another process keeps damaging {target}.", "Stop it, then fetch again.")
        fsync_directory(target.parent)

    def mark(self, manifest: Manifest) -> None:
        """Say that a snapshot is complete; the last write of a fetch."""
        write_atomically(self.root / "manifests" / f"{manifest.digest}.json", manifest.canonical())

    def read_ref(self, name: str, tag: str) -> str | None:
        """What the store last said that `name@tag` is."""
        try:
            text = (self.root / "refs" / name / tag).read_text("utf-8").strip()
        except OSError:
            return None
        return text if is_digest(text) else None

    def remember_ref(self, name: str, tag: str, digest: str) -> None:
        """Keep the store's answer; a cache that cannot be written (baked into an image) goes without."""
        if self.read_ref(name, tag) != digest:
            with suppress(OSError):
                write_atomically(self.root / "refs" / name / tag, f"{digest}\n".encode())

    def complete(self) -> list[str]:
        """The digests of all snapshots marked complete."""
        marks = (self.root / "manifests").glob("*.json")
        return sorted(path.stem for path in marks if is_digest(path.stem))

    def staging(self) -> AbstractContextManager[Path]:
        """A staging directory of one's own, after removing those of the dead."""
        sweep(self.root / "staging")
        return staging_directory(self.root / "staging")

    @contextmanager
    def single_flight(self, digest: str, timeout_s: float) -> Iterator[bool]:
        """Wait until nobody else fetches `digest`, at most `timeout_s`; says whether the lock was had.

        The lock only saves bytes: without it (deadline, file system without locks, read-only) all goes on.
        The kernel frees the lock of a process that dies.
        """
        lock = None
        try:
            make_directory(self.root / "locks")
            lock = FileLock(self.root / "locks" / f"{digest}.lock", timeout=timeout_s, mode=0o666)
            lock.acquire()
        except (Timeout, OSError, NotImplementedError) as error:
            log.warning("fetching sha256:%s without the lock: %s", digest, error)
            lock = None
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()


def _renamed(tree: Path, target: Path) -> bool:
    """Rename a directory unless a filled one is in the way."""
    try:
        os.rename(tree, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True
