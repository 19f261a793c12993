"""Copying a model from one store to another: what is there is kept, every byte is hashed on the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from model_store.errors import CorruptBlob
from model_store.fetching.lookup import select_refs
from model_store.manifest import FileEntry, Manifest
from model_store.stores import Ref, Store
from model_store.stores.base import stream_blob

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Copied:
    """A manifest that is now in the other store, the refs that name it, and the bytes that had to be written."""

    manifest: Manifest
    refs: tuple[Ref, ...]
    copied_bytes: int


def _ignore_progress(done: int, total: int) -> None:
    """The default for `copy_models(progress=…)`."""


def copy_models(name: str, origin: Store, target: Store, progress: Progress = _ignore_progress) -> list[Copied]:
    """Copy what `name`, a pattern, `name@tag` or `name@sha256:…` means, with its signature and the refs to it.

    Blobs, manifest, signature, refs, in this order: what is cut short is not seen, and doing it again goes on.
    """
    digests, refs = select_refs(name, origin)
    return [_copy(digest, _refs_to(digest, refs, origin), origin, target, progress) for digest in sorted(digests)]


def _refs_to(digest: str, refs: list[Ref], origin: Store) -> tuple[Ref, ...]:
    """The refs to a manifest; without one its name and revision, or gc would take it for garbage."""
    manifest = origin.read_manifest(digest)
    chosen = tuple(ref for ref in refs if ref.digest == digest)
    return chosen or (Ref(manifest.name, manifest.revision, digest),)


def _copy(digest: str, refs: tuple[Ref, ...], origin: Store, target: Store, progress: Progress) -> Copied:
    manifest = origin.read_manifest(digest)
    signature = origin.read_signature(digest)
    done = copied = 0
    for entry in manifest.files:
        if not target.has_blob(entry.sha256, entry.size):
            target.put_blob(
                entry.sha256, entry.size, _told(_checked(origin, manifest, entry), done, manifest, progress)
            )
            copied += entry.size
        done += entry.size
        progress(done, manifest.size)
    target.write_manifest(manifest)
    if signature is not None:
        target.write_signature(digest, signature)
    for ref in refs:
        if target.read_ref(ref.name, ref.tag) != digest:
            target.write_ref(ref.name, ref.tag, digest)
    return Copied(manifest, refs, copied)


def _checked(origin: Store, manifest: Manifest, entry: FileEntry) -> Iterator[bytes]:
    """A blob's bytes; raises CorruptBlob before the end if they are not right, and names the store that gave them."""
    hasher = sha256()
    for chunk in stream_blob(origin, entry.sha256, entry.size):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != entry.sha256:
        raise CorruptBlob(
            f"{entry.path} of {manifest.name}@{manifest.revision} is damaged in the store at {origin.url}: expected "
            f"sha256 {entry.sha256}, got {hasher.hexdigest()}.",
            f"Repair it there: model-store repair {manifest.name} --store {origin.url}",
            path=entry.path,
            expected=entry.sha256,
            got=hasher.hexdigest(),
        )


def _told(chunks: Iterator[bytes], done: int, manifest: Manifest, progress: Progress) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        progress(done, manifest.size)
