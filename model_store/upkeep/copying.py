"""Copying a model from one store to another: what is there is kept, every byte is hashed on the way."""

from dataclasses import dataclass

from model_store.fetching.lookup import select_refs
from model_store.manifest import Manifest
from model_store.progress import Progress, counted, ignore_progress
from model_store.stores import Ref, Store
from model_store.stores.checked import read_checked

_MEND = "Repair it there: model-store repair {} --store {}"


@dataclass(frozen=True)
class Copied:
    """A manifest that is now in the other store, the refs that name it, and the bytes that had to be written."""

    manifest: Manifest
    refs: tuple[Ref, ...]
    copied_bytes: int


def copy_models(name: str, origin: Store, target: Store, progress: Progress = ignore_progress) -> list[Copied]:
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
            chunks = read_checked(origin, entry, manifest, _MEND.format(manifest.name, origin.url))
            target.put_blob(entry.sha256, entry.size, counted(chunks, done, manifest.size, progress))
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
