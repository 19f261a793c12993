"""What a node cache holds: bytes of each snapshot, when it was used, and what keeps it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from model_store.cache.leases import Holder, holders
from model_store.cache.partial import SHELF
from model_store.errors import ManifestError
from model_store.manifest import Manifest, read_manifest
from model_store.references import is_digest

if TYPE_CHECKING:
    from model_store.cache.node_cache import NodeCache


@dataclass
class Content:
    """One file's bytes under all its names in the cache.

    `links`: its names on the whole disk; `names`: those in this cache; `users`: the snapshots that need it;
    `awaited`: a fetch under way needs it.
    """

    size: int
    links: int
    names: int = 0
    users: set[str] = field(default_factory=set)
    awaited: bool = False


@dataclass(frozen=True)
class SnapshotUse:
    """One snapshot. `bytes`: all its files; `unique_bytes`: what no other snapshot has; `used_at`: seconds since 1970.

    `manifest` is None for a directory that is not marked complete.
    """

    digest: str
    manifest: Manifest | None
    bytes: int
    unique_bytes: int
    used_at: float
    pinned: bool
    holders: tuple[Holder, ...]

    @property
    def kept(self) -> bool:
        """Whether it must not be evicted."""
        return self.pinned or bool(self.holders)

    @property
    def model(self) -> str:
        """`name@revision`, or the digest where that is not known."""
        return f"{self.manifest.name}@{self.manifest.revision}" if self.manifest else f"sha256:{self.digest}"


class Orphan(NamedTuple):
    """A blob, whole or in part, that no snapshot and no fetch under way needs; `modified` in seconds since 1970."""

    digest: str
    path: Path
    size: int
    modified: float


@dataclass(frozen=True)
class Usage:
    """All of a node cache. `used_bytes` counts each file once; `awaited_bytes` is what other fetches will still add."""

    snapshots: tuple[SnapshotUse, ...]
    orphans: tuple[Orphan, ...]
    used_bytes: int
    awaited_bytes: int
    contents: tuple[Content, ...]

    def without(self, evicted: set[str]) -> int:
        """Bytes used if these snapshots and all orphans went."""
        return sum(content.size for content in self.contents if _stays(content, evicted))

    def freed(self, evicted: set[str]) -> int:
        """Bytes that the disk would have again: not those that have names outside of the cache."""
        gone = (content for content in self.contents if not _stays(content, evicted))
        return sum(content.size for content in gone if content.links <= content.names)


def _stays(content: Content, evicted: set[str]) -> bool:
    return content.awaited or not content.users <= evicted


def measure(cache: "NodeCache") -> Usage:
    """Look at every file of the cache, without reading any."""
    held = holders(cache.root)
    found = [path.name for path in _entries(cache.root / "snapshots") if is_digest(path.name)]
    marked = {digest: manifest for digest, manifest in _marked(cache) if digest in found}
    users: dict[str, set[str]] = {}
    for digest, manifest in marked.items():
        for entry in manifest.files:
            users.setdefault(entry.sha256, set()).add(digest)
    awaited = _awaited(held)
    contents: dict[tuple[int, int], Content] = {}
    for digest in found:
        for status in _files(cache.snapshot_path(digest)):
            _named(contents, status).users.add(digest)
    orphans = (*_blobs(cache, contents, users, awaited), *_parts(cache, contents, awaited))
    snapshots = tuple(
        _use(cache, digest, marked.get(digest), contents.values(), held.get(digest, [])) for digest in found
    )
    used = sum(content.size for content in contents.values())
    return Usage(snapshots, orphans, used, _still_to_come(cache, held), tuple(contents.values()))


def _marked(cache: "NodeCache") -> Iterator[tuple[str, Manifest]]:
    for digest in cache.complete():
        with suppress(OSError, ManifestError):
            yield digest, read_manifest(cache.mark_path(digest).read_bytes(), digest)


def _awaited(held: dict[str, list[Holder]]) -> set[str]:
    """The blobs that fetches under way have named in their leases."""
    return {blob for some in held.values() for holder in some for blob in holder.blobs}


def _still_to_come(cache: "NodeCache", held: dict[str, list[Holder]]) -> int:
    """Bytes that fetches of other processes will add, apart from those that this process fetches too."""
    everyone = [holder for some in held.values() for holder in some]
    mine = {blob for holder in everyone if holder.here for blob in holder.blobs}
    theirs = {blob: size for holder in everyone if not holder.here for blob, size in holder.blobs.items()}
    missing = {blob: size for blob, size in theirs.items() if blob not in mine and not cache.blob_path(blob).exists()}
    return sum(max(size - _kept_part(cache, blob), 0) for blob, size in missing.items())


def _kept_part(cache: "NodeCache", blob: str) -> int:
    """Bytes of a part-finished blob that no fetch has taken over yet: they are counted as used."""
    try:
        return (cache.root / SHELF / blob / "data").lstat().st_size
    except OSError:
        return 0


def _blobs(
    cache: "NodeCache", contents: dict[tuple[int, int], Content], users: dict[str, set[str]], awaited: set[str]
) -> Iterator[Orphan]:
    """Count the blobs, and yield those that nobody needs."""
    for path in (cache.root / "blobs" / "sha256").glob("??/*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            content = _named(contents, status)
            content.users |= users.get(path.name, set())
            content.awaited |= path.name in awaited
            if not content.users and not content.awaited and is_digest(path.name):
                yield Orphan(path.name, path, status.st_size, status.st_mtime)


def _parts(cache: "NodeCache", contents: dict[tuple[int, int], Content], awaited: set[str]) -> Iterator[Orphan]:
    """Count what ended fetches left, and yield what nobody is about to go on with."""
    for path in _entries(cache.root / SHELF):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = (path / "data").lstat()
            content = _named(contents, status)
            content.awaited |= path.name in awaited
            if not content.awaited:
                yield Orphan(path.name, path, status.st_size, status.st_mtime)


def _named(contents: dict[tuple[int, int], Content], status: os.stat_result) -> Content:
    key = (status.st_dev, status.st_ino)
    content = contents.setdefault(key, Content(status.st_size, status.st_nlink))
    content.names += 1
    return content


def _use(
    cache: "NodeCache", digest: str, manifest: Manifest | None, contents: Iterable[Content], held: list[Holder]
) -> SnapshotUse:
    mine = [content for content in contents if digest in content.users]
    return SnapshotUse(
        digest=digest,
        manifest=manifest,
        bytes=manifest.size if manifest else sum(content.size for content in mine),
        unique_bytes=sum(content.size for content in mine if content.users == {digest}),
        used_at=cache.used_at(digest),
        pinned=cache.pinned(digest),
        holders=tuple(held),
    )


def _files(root: Path) -> Iterator[os.stat_result]:
    for directory, _, names in os.walk(root):
        for name in names:
            with suppress(OSError):
                yield os.lstat(f"{directory}/{name}")


def _entries(root: Path) -> list[Path]:
    try:
        return sorted(root.iterdir())
    except OSError:
        return []
