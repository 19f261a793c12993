"""Exporting: from a store into one file, the same bytes each time."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from model_store.bundle.layout import END, INDEX, Index, Member, header, padding
from model_store.errors import BundleError, ManifestError
from model_store.fetching.lookup import select_refs
from model_store.files import fsync_directory
from model_store.manifest import FileEntry, Manifest
from model_store.progress import Progress, counted, ignore_progress
from model_store.staging import staging_directory, sweep
from model_store.stores.base import Ref, Store
from model_store.stores.checked import read_checked

_MEND = "Publish it again, which replaces damaged blobs: model-store publish {}"


@dataclass(frozen=True)
class Exported:
    """What a bundle holds: its refs, the digests of its manifests, and the bytes of the whole file."""

    refs: tuple[Ref, ...]
    manifests: tuple[str, ...]
    size: int


@dataclass
class _Contents:
    """What is to be written; the small members as they are, of the blobs their entries."""

    refs: set[Ref] = field(default_factory=set)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, tuple[FileEntry, Manifest]] = field(default_factory=dict)

    def index(self) -> Index:
        members = [Member(path=path, size=len(raw), sha256=_sha256(raw)) for path, raw in self.small.items()]
        members += [Member(path=p, size=entry.size, sha256=entry.sha256) for p, (entry, _) in self.blobs.items()]
        return Index(members=tuple(sorted(members, key=lambda member: member.order)))


def export_bundle(names: Iterable[str], store: Store, out: Path, progress: Progress = ignore_progress) -> Exported:
    """Write models (`name[@tag|@sha256:…]`, or patterns) into the file `out`; it is there whole, or not at all.

    A bare name takes all tags that stand for the same manifest as its latest. Raises CorruptBlob, NotPublished, or
    BundleError if `out` cannot be written.
    """
    with _writing(out):
        parent = out.absolute().parent
        staging = parent / ".bundles" / "staging"
        sweep(staging)
        try:
            with staging_directory(staging) as stage, (stage / out.name).open("xb") as file:
                done = write_bundle(names, store, file, progress)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                os.replace(stage / out.name, out)
                fsync_directory(parent)
        finally:
            with suppress(OSError):  # another export may be using them
                staging.rmdir()
                staging.parent.rmdir()
    return done


def write_bundle(names: Iterable[str], store: Store, file: BinaryIO, progress: Progress = ignore_progress) -> Exported:
    """Write a bundle into an open file, which may be a pipe; every blob is checked on its way."""
    contents = _collect(names, store)
    index = contents.index()
    raw = index.canonical()
    done, total = 0, sum(member.size for member in index.members)
    size = _write(file, INDEX, len(raw), [raw])
    for member in index.members:
        chunks: Iterable[bytes] = [contents.small.get(member.path, b"")]
        if member.kind == "blob":
            entry, manifest = contents.blobs[member.path]
            chunks = read_checked(store, entry, manifest, _MEND.format(manifest.name))
        told = counted(chunks, done, total, progress)
        size += _write(file, member.path, member.size, told, read_only=member.kind == "blob")
        done += member.size
    file.write(END)
    return Exported(tuple(sorted(contents.refs)), tuple(sorted(contents.manifests)), size + len(END))


def _collect(names: Iterable[str], store: Store) -> _Contents:
    contents = _Contents()
    for name in names:
        digests, refs = select_refs(name, store)
        contents.refs.update(refs)
        for digest in digests - set(contents.manifests):
            _add(contents, digest, store)
    for ref in contents.refs:
        contents.small[f"refs/{ref.name}/{ref.tag}"] = f"{ref.digest}\n".encode()
    return contents


def _add(contents: _Contents, digest: str, store: Store) -> None:
    manifest = store.read_manifest(digest)
    if manifest.digest != digest:
        raise ManifestError(f"Manifest sha256:{digest} is not written as this version writes.", "Publish it again.")
    contents.manifests[digest] = manifest
    contents.small[f"manifests/{digest}.json"] = manifest.canonical()
    signature = store.read_signature(digest)
    if signature is not None:
        contents.small[f"signatures/{digest}.json"] = signature
    for entry in manifest.files:
        contents.blobs[f"blobs/sha256/{entry.sha256[:2]}/{entry.sha256}"] = entry, manifest


def _write(file: BinaryIO, path: str, size: int, chunks: Iterable[bytes], *, read_only: bool = False) -> int:
    """Write one member; returns the bytes it takes."""
    file.write(head := header(path, size, read_only=read_only))
    for chunk in chunks:
        file.write(chunk)
    file.write(bytes(padding(size)))
    return len(head) + size + padding(size)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Bare OSErrors here are the bundle's: the store raises its own kind."""
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"The bundle {out} cannot be written: {error.strerror or error}.",
            "Give a file with --out in a directory that exists, may be written and has the space.",
            bundle=str(out),
        ) from None
