"""Verification: compare what is there with what the manifest promises."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from model_store.errors import CorruptBlob, ModelStoreError, NotPublished
from model_store.files import hash_file
from model_store.hashing import quick_hash
from model_store.manifest import FileEntry, Manifest, Piece, read_manifest
from model_store.references import Reference, check_name
from model_store.stores.base import Store

if TYPE_CHECKING:
    from model_store.cache.node_cache import NodeCache
    from model_store.fetching.fetch import Snapshot


CONNECTIONS = 8


@dataclass(frozen=True)
class Problem:
    """One file, ref or manifest that is not as it must be."""

    model: str
    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.model}: {self.path}: expected {self.expected}, got {self.got}"


def verify(what: "Snapshot | Store | NodeCache", *, deep: bool = True, name: str | None = None) -> list[Problem]:
    """Every bad file of a snapshot, a node cache or a store (all, or one model's); deep reads and hashes all bytes."""
    from model_store.cache.node_cache import NodeCache
    from model_store.fetching.fetch import Snapshot, not_published

    if isinstance(what, Snapshot):
        return list(bad_files(what.path, what.manifest, deep=deep))
    if isinstance(what, NodeCache):
        return list(_bad_in_cache(what, deep, name))
    if name is not None and not any(ref.name == name for ref in what.list_refs()):
        raise not_published(Reference(check_name(name)), what)
    return list(_bad_in_store(what, deep, name))


def bad_files(root: Path, manifest: Manifest, *, deep: bool) -> Iterator[Problem]:
    """Compare each file below `root` by size and, with `deep`, by hash."""
    model = f"{manifest.name}@{manifest.revision}"
    for entry in manifest.files:
        problem = _bad_file(model, f"{root}/{entry.path}", entry, deep)
        if problem is not None:
            yield problem


def _bad_file(model: str, path: str, entry: FileEntry, deep: bool) -> Problem | None:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return Problem(model, entry.path, "a regular file", "something else")
        if status.st_size != entry.size:
            return Problem(model, entry.path, f"{entry.size} bytes", f"{status.st_size} bytes")
        got = hash_local(Path(path), entry) if deep else entry.sha256
    except OSError as error:
        return Problem(model, entry.path, f"{entry.size} bytes", error.strerror or "unreadable")
    return None if got == entry.sha256 else Problem(model, entry.path, entry.sha256, got)


def _bad_in_cache(cache: "NodeCache", deep: bool, name: str | None) -> Iterator[Problem]:
    found = False
    for digest in cache.complete():
        try:
            manifest = read_manifest((cache.root / "manifests" / f"{digest}.json").read_bytes(), digest)
        except (ModelStoreError, OSError) as error:
            yield Problem("?", f"manifests/{digest}.json", "a manifest", str(error))
            continue
        if name in (None, manifest.name):
            found = True
            yield from bad_files(cache.snapshot_path(digest), manifest, deep=deep)
    if name is not None and not found:
        raise NotPublished(f"{name} is not in the node cache at {cache.root}.", f"Fetch it: model-store fetch {name}")


def _bad_in_store(store: Store, deep: bool, name: str | None) -> Iterator[Problem]:
    seen: set[str] = set()
    for ref in store.list_refs():
        if name not in (None, ref.name) or ref.digest in seen:
            continue
        seen.add(ref.digest)
        try:
            manifest = store.read_manifest(ref.digest)
        except ModelStoreError as error:
            yield Problem(f"{ref.name}@{ref.tag}", "manifest", f"sha256:{ref.digest}", error.problem)
            continue
        for entry in manifest.files:
            got = _blob_state(store, entry, deep)
            if got != entry.sha256:
                yield Problem(f"{ref.name}@{ref.tag}", entry.path, entry.sha256, got)


def _blob_state(store: Store, entry: FileEntry, deep: bool) -> str:
    """The digest of a stored blob, believed if not `deep`; in words if it is missing."""
    if not store.has_blob(entry.sha256, entry.size):
        return f"no blob of {entry.size} bytes"
    return hash_blob(store, entry) if deep else entry.sha256


def hash_blob(store: Store, entry: FileEntry) -> str:
    """The sha256 of what the store really gives for a blob; in words if that is damaged and not a file of this machine.

    Reads all bytes: of a file with the quicker hash over all cores, else pieces over several connections.
    """
    path = store.local_path(entry.sha256)
    if path is not None:
        with suppress(OSError):
            return hash_local(path, entry)
    with ThreadPoolExecutor(CONNECTIONS, "model-store-verify") as threads:
        digests = threads.map(lambda piece: _hash_piece(store, entry, piece), entry.checked_pieces())
        wrong = [piece for piece, digest in zip(entry.checked_pieces(), digests, strict=True) if digest != piece.blake3]
    return f"{len(wrong)} wrong pieces, the first at byte {wrong[0].start}" if wrong else entry.sha256


def _hash_piece(store: Store, entry: FileEntry, piece: Piece) -> str:
    try:
        hasher = blake3()
        for part in store.iter_blob(entry.sha256, piece.start, piece.length):
            hasher.update(part)
        return hasher.hexdigest()
    except CorruptBlob:
        return ""


def hash_local(path: Path, entry: FileEntry) -> str:
    """The sha256 of a file, told by its blake3 if that is the entry's; raises OSError."""
    if quick_hash(path) == entry.blake3:
        return entry.sha256
    got = hash_file(path)
    # A manifest that contradicts itself must not pass for a good file.
    return got if got != entry.sha256 else f"a blake3 other than {entry.blake3}"
