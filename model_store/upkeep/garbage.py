"""What nothing names any more: in a store manifests and blobs, in a node cache the debris of the dead."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from model_store.cache.eviction import evict, remove_orphan
from model_store.cache.leases import dead_leases, remove_dead
from model_store.cache.node_cache import NodeCache
from model_store.cache.usage import measure
from model_store.errors import CorruptBlob, ManifestError, MissingManifest
from model_store.manifest import Manifest
from model_store.staging import abandoned, sweep
from model_store.stores import Blob, Store

GRACE_S = 24 * 3600.0


@dataclass(frozen=True)
class Garbage:
    """What was removed from a store, or with a dry run would be; `bytes` is the blobs' size."""

    manifests: tuple[str, ...]
    blobs: tuple[str, ...]
    bytes: int


def collect_garbage(store: Store, *, grace_s: float = GRACE_S, dry_run: bool = False, force: bool = False) -> Garbage:
    """Remove manifests that no ref names and blobs that no manifest names, if they are older than `grace_s`.

    With no grace nobody may publish meanwhile. A manifest that cannot be read stops it all with ManifestError, since
    its blobs would look unused; with `force` they are.
    """
    before = time.time() - grace_s
    # Blobs first: what is published after this line is in no list, and so not in danger.
    blobs = list(store.list_blobs())
    listed = store.list_manifests()
    manifests, damaged = _read_manifests(store, listed)
    if damaged and not force:
        raise damaged[min(damaged)]
    named = _named(store)
    old = [digest for digest, manifest in manifests.items() if digest not in named and _made(manifest) <= before]
    going = [*old, *(digest for digest in damaged if digest not in named)]
    unused = [blob for blob in blobs if blob.digest not in _used(manifests, going) and blob.modified <= before]
    if not dry_run:
        going, unused = _confirm(store, listed, manifests, going, unused)
        going, unused = _delete(store, manifests, going, unused)
    return Garbage(tuple(going), tuple(blob.digest for blob in unused), sum(blob.size for blob in unused))


def _named(store: Store) -> set[str]:
    return {ref.digest for ref in store.list_refs()}


def _read_manifests(store: Store, digests: list[str]) -> tuple[dict[str, Manifest], dict[str, ManifestError]]:
    """Manifests, and the errors of those that cannot be read."""
    found, damaged = {}, {}
    for digest in digests:
        try:
            found[digest] = store.read_manifest(digest)
        except ManifestError as error:
            damaged[digest] = error
        except MissingManifest:
            continue  # removed since it was listed
    return found, damaged


def _made(manifest: Manifest) -> float:
    """When a manifest was made, in seconds since 1970; long ago if it does not say."""
    try:
        return datetime.strptime(manifest.created, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _used(manifests: dict[str, Manifest], going: list[str]) -> set[str]:
    """The blobs of all manifests but those that go."""
    staying = (manifest for digest, manifest in manifests.items() if digest not in going)
    return {entry.sha256 for manifest in staying for entry in manifest.files}


def _confirm(
    store: Store, listed: list[str], manifests: dict[str, Manifest], going: list[str], unused: list[Blob]
) -> tuple[list[str], list[Blob]]:
    """Keep what was published while the lists were made."""
    fresh, damaged = _read_manifests(store, [digest for digest in store.list_manifests() if digest not in listed])
    if damaged:
        raise damaged[min(damaged)]
    named = _named(store)
    going = [digest for digest in going if digest not in named]
    used = _used({**manifests, **fresh}, going)
    return going, [blob for blob in unused if blob.digest not in used]


def _delete(
    store: Store, manifests: dict[str, Manifest], going: list[str], unused: list[Blob]
) -> tuple[list[str], list[Blob]]:
    """Manifests before blobs, so that a kill leaves no manifest without its blobs; returns what went."""
    signatures = {digest: store.read_signature(digest) for digest in going}
    for digest in going:
        store.delete_manifest(digest)
    back = _named(store) & set(going) & set(manifests)
    for digest in back:
        # Someone named it in the very moment; its blobs are all still here.
        _put_back(store, manifests[digest], signatures[digest])
    kept = {entry.sha256 for digest in back for entry in manifests[digest].files}
    unused = [blob for blob in unused if blob.digest not in kept]
    for blob in unused:
        store.delete_blob(blob.digest)
    _tell_of_losses(store, {blob.digest for blob in unused})
    return [digest for digest in going if digest not in back], unused


def _put_back(store: Store, manifest: Manifest, signature: bytes | None) -> None:
    store.write_manifest(manifest)
    if signature is not None:
        store.write_signature(manifest.digest, signature)


def _tell_of_losses(store: Store, deleted: set[str]) -> None:
    """Someone may have published in the very moment; he must hear of it now, not when the model is fetched."""
    for ref in store.list_refs():
        try:
            entries = store.read_manifest(ref.digest).files
        except (ManifestError, MissingManifest):
            continue
        gone = [entry for entry in entries if entry.sha256 in deleted and not store.has_blob(entry.sha256, entry.size)]
        if gone:
            raise CorruptBlob(
                f"{ref.name}@{ref.tag} was published while gc ran, and lost {gone[0].path}.",
                f"Publish it again: model-store publish {ref.name}. Leave gc its grace.",
                path=gone[0].path,
                expected=gone[0].sha256,
                got="",
            )


@dataclass(frozen=True)
class Debris:
    """What was removed from a node cache, or with a dry run would be: paths below its root, and bytes of blobs."""

    staging: tuple[str, ...]
    snapshots: tuple[str, ...]
    blobs: tuple[str, ...]
    leases: tuple[str, ...]
    bytes: int


def tidy(cache: NodeCache, *, grace_s: float = GRACE_S, dry_run: bool = False) -> Debris:
    """Remove what dead processes left: staging, snapshots without mark, blobs without snapshot, leases."""
    before = time.time() - grace_s
    leases = dead_leases(cache.root)
    usage = measure(cache)
    orphans = [orphan for orphan in usage.orphans if orphan.modified <= before]
    unmarked = [use for use in usage.snapshots if use.manifest is None and not use.kept and use.used_at <= before]
    staging = abandoned(cache.root / "staging", time.time())
    if not dry_run:
        with cache.writing():
            sweep(cache.root / "staging")
            remove_dead(cache.root)
            for use in unmarked:
                evict(cache, use.digest)
            for orphan in orphans:
                remove_orphan(cache, orphan)
    return Debris(
        staging=_relative(cache, staging),
        snapshots=tuple(use.digest for use in unmarked),
        blobs=tuple(orphan.digest for orphan in orphans),
        leases=_relative(cache, leases),
        bytes=sum(orphan.size for orphan in orphans) + sum(use.unique_bytes for use in unmarked),
    )


def _relative(cache: NodeCache, paths: list[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(cache.root).as_posix() for path in paths)
