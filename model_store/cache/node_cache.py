"""The node cache: a machine's own copy of the snapshots that its replicas use.

blobs/sha256/ab/<digest>    files by content, 0444
snapshots/<digest>/         one directory per manifest, hard links to the blobs
manifests/<digest>.json     written last: the mark that its snapshot is complete
refs/<name>/<tag>           the last answers of the store, for when it cannot be reached
leases/<digest>/<uuid>.json which processes use a snapshot
used/<digest>               when it was last used: the mtime
pins/<digest>               never to be evicted
staging/  partial/  locks/  work under way, and what was cut off
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from model_store.cache import eviction, locks
from model_store.cache.leases import Lease
from model_store.errors import CacheError, CacheUnwritable, ManifestError, NotPublished
from model_store.files import fsync_directory, make_directory, write_atomically
from model_store.manifest import Manifest, read_manifest
from model_store.references import DEFAULT_TAG, Reference, is_digest
from model_store.staging import staging_directory, sweep
from model_store.upkeep.verify import bad_files

log = logging.getLogger(__name__)


def _ignore_step(step: str) -> None:
    """The default for `NodeCache.on_step`."""


class NodeCache:
    """A node cache in a directory of this machine, of at most `quota_bytes` if that is given.

    `on_step` is told each step of a fetch and of an eviction (tests break there).
    """

    def __init__(
        self, root: Path | str, on_step: Callable[[str], None] = _ignore_step, *, quota_bytes: int | None = None
    ) -> None:
        self.root = Path(root).expanduser().absolute()
        self.on_step = on_step
        self.quota_bytes = quota_bytes

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def snapshot_path(self, digest: str) -> Path:
        """Where the snapshot of a manifest lies, or would."""
        return self.root / "snapshots" / digest

    def mark_path(self, digest: str) -> Path:
        """Where the mark of a complete snapshot lies, or would: its manifest."""
        return self.root / "manifests" / f"{digest}.json"

    def lock_path(self, digest: str) -> Path:
        """The lock of whoever fetches or evicts a snapshot."""
        return self.root / "locks" / f"{digest}.lock"

    def lookup(self, digest: str, *, deep: bool = False) -> Manifest | None:
        """The manifest of a complete snapshot, or None: files are compared by size, with `deep` by hash."""
        manifest = self._intact(digest, deep=deep)
        if manifest is not None:
            self.touch(digest)
        return manifest

    def find(self, reference: Reference) -> Manifest:
        """The snapshot here that a reference means, without asking the store; raises NotPublished if there is none.

        It does not count as used. A tag is what the store last said it is, else a revision; without a tag the only
        snapshot of the name will do.
        """
        told = reference.digest or self.read_ref(reference.name, reference.tag)
        manifest = self._intact(told) if told else None
        if manifest is None and reference.digest is None:
            named = [found for found in self.manifests() if found.name == reference.name]
            wanted = [found for found in named if found.revision == reference.tag]
            chosen = wanted or (named if len(named) == 1 and reference.tag == DEFAULT_TAG else [])
            manifest = max(chosen, key=lambda found: found.created, default=None)
        if manifest is None or manifest.name != reference.name:
            raise self._not_here(reference)
        return manifest

    def _not_here(self, reference: Reference) -> NotPublished:
        here = sorted(f"{found.name}@{found.revision}" for found in self.manifests())
        return NotPublished(
            f"{reference} is not in the node cache at {self.root}, which holds: {', '.join(here) or 'nothing'}.",
            f"Fetch it: model-store fetch {reference}",
            cached=here,
        )

    def manifests(self) -> list[Manifest]:
        """The manifests of all complete snapshots."""
        return [manifest for digest in self.complete() if (manifest := self._intact(digest)) is not None]

    def _intact(self, digest: str, *, deep: bool = False) -> Manifest | None:
        try:
            manifest = read_manifest(self.mark_path(digest).read_bytes(), digest)
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
        write_atomically(self.mark_path(manifest.digest), manifest.canonical())

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

    def hold(self, digest: str, manifest: Manifest | None = None) -> Lease:
        """Keep a snapshot from eviction while this process uses it; release the lease, or use it in a `with`.

        Hold first and look then. A fetch gives the manifest, which keeps the blobs that it will link.
        """
        blobs = {entry.sha256: entry.size for entry in manifest.files} if manifest else {}
        lease = Lease(self.root / "leases" / digest, blobs)
        self.touch(digest)
        return lease

    def touch(self, digest: str) -> None:
        """Note that a snapshot is used; a cache that cannot be written goes without."""
        stamp = self.root / "used" / digest
        with suppress(OSError):
            try:
                os.utime(stamp)
            except FileNotFoundError:
                if self.root.is_dir():
                    make_directory(stamp.parent)
                    stamp.touch()

    def used_at(self, digest: str) -> float:
        """When a snapshot was last used or brought, in seconds since 1970; 0 if that is not known."""
        for path in (self.root / "used" / digest, self.mark_path(digest), self.snapshot_path(digest)):
            with suppress(OSError):
                return path.stat().st_mtime
        return 0.0

    def pin(self, digest: str) -> None:
        """Never evict a snapshot."""
        with self.writing():
            write_atomically(self.root / "pins" / digest, b"")

    def unpin(self, digest: str) -> None:
        """Let a snapshot be evicted again."""
        with self.writing():
            (self.root / "pins" / digest).unlink(missing_ok=True)

    def pinned(self, digest: str) -> bool:
        """Whether a snapshot is never evicted."""
        return (self.root / "pins" / digest).exists()

    def forget(self, digest: str) -> None:
        """Remove what is noted of a snapshot that is gone."""
        for path in (self.root / "used" / digest, self.root / "pins" / digest):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            (self.root / "leases" / digest).rmdir()

    def make_room(self, needed: int) -> None:
        """Let `needed` more bytes fit, evicting what is longest unused; raises CacheFull if they cannot.

        A fetch holds its digest with its manifest before: what it has brought already is kept, and other fetches count
        what it will bring.
        """
        with self.writing():
            eviction.make_room(self, needed)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn the errors of a cache that cannot be written into ours."""
        try:
            yield
        except OSError as error:
            raise CacheUnwritable(
                f"The node cache at {self.root} cannot be written by uid {os.getuid()}: {error}.",
                "Give this user the directory, or set RAYSCRIBE_CACHE to one it may write.",
            ) from error

    def staging(self) -> AbstractContextManager[Path]:
        """A staging directory of one's own, after removing those of the dead."""
        sweep(self.root / "staging")
        return staging_directory(self.root / "staging")

    @contextmanager
    def single_flight(
        self, digest: str, timeout_s: float, waiting: Callable[[], bool] = lambda: False
    ) -> Iterator[bool]:
        """Wait until nobody else works on `digest`, at most `timeout_s`; says whether the lock was had and is one.

        `waiting` is called five times a second meanwhile; it ends the wait by returning true.

        The lock only saves bytes: without it (deadline, read-only file system) all goes on.
        """
        with ExitStack() as held:
            try:
                make_directory(self.root / "locks")
                alone = locks.acquire(held, self.lock_path(digest), timeout_s, waiting)
            except (Timeout, OSError, NotImplementedError) as error:
                log.warning("going on without the lock of %s: %s", digest, error)
                alone = False
            yield alone


def _renamed(tree: Path, target: Path) -> bool:
    """Rename a directory unless a filled one is in the way."""
    try:
        os.rename(tree, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True
