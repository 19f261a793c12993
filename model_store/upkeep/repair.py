"""Repair: bring back what is missing or damaged, from wherever the right bytes are at hand."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_store.cache.node_cache import NodeCache
from model_store.errors import CorruptBlob, ManifestError, MissingManifest, ModelStoreError, NotPublished
from model_store.fetching.fetch import FetchOptions, fetch, not_published
from model_store.files import hash_file, read_chunks
from model_store.manifest import FileEntry, Manifest, read_manifest
from model_store.publishing.catalog import Catalog
from model_store.references import Reference
from model_store.sources import Source, parse_source
from model_store.stores import Ref, Store
from model_store.upkeep.verify import bad_files, hash_blob

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repaired:
    """One path of a model that was wrong and is right again."""

    model: str
    path: str


def repair_cache(name: str, cache: NodeCache, store: Store) -> list[Repaired]:
    """Hash all cached snapshots of a model, and fetch again what is wrong; raises NotPublished if none is here."""
    reference = Reference.parse(name)
    marked = [manifest for manifest in _marked(cache) if manifest.name == reference.name]
    chosen = [one for one in marked if _means(reference, name, one, cache)]
    if not chosen:
        raise NotPublished(f"{name} is not in the node cache at {cache.root}.", f"Fetch it: model-store fetch {name}")
    done: list[Repaired] = []
    for manifest in chosen:
        bad = list(bad_files(cache.snapshot_path(manifest.digest), manifest, deep=True))
        if bad:
            fetch(f"{manifest.name}@sha256:{manifest.digest}", store, cache, FetchOptions(deep=True))
            done += [Repaired(problem.model, problem.path) for problem in bad]
    return done


def _marked(cache: NodeCache) -> Iterator[Manifest]:
    """The manifests of all snapshots that are marked complete, whole or not."""
    for digest in cache.complete():
        try:
            yield read_manifest(cache.mark_path(digest).read_bytes(), digest)
        except (OSError, ManifestError) as error:
            log.warning("%s is not to be read: %s", cache.mark_path(digest), error)


def _means(reference: Reference, name: str, manifest: Manifest, cache: NodeCache) -> bool:
    if "@" not in name:
        return True
    told = reference.digest or cache.read_ref(reference.name, reference.tag)
    return manifest.digest == told or (reference.digest is None and manifest.revision == reference.tag)


def repair_store(name: str, store: Store, cache: NodeCache, catalog: Catalog | None = None) -> list[Repaired]:
    """Hash all of a model in a store, and write again what is wrong; raises CorruptBlob if the right bytes are nowhere.

    Looked for in the node cache, then in the catalog's source, then in the source that the manifest names.
    """
    reference = Reference.parse(name)
    refs = [ref for ref in store.list_refs() if ref.name == reference.name and _ref_meant(reference, name, ref)]
    if not refs:
        raise not_published(reference, store)
    done: list[Repaired] = []
    for digest in dict.fromkeys(ref.digest for ref in refs):
        manifest = _manifest(digest, store, cache, done)
        done += _repair_blobs(manifest, store, cache, catalog)
    return done


def _ref_meant(reference: Reference, name: str, ref: Ref) -> bool:
    return "@" not in name or (ref.digest == reference.digest if reference.digest else ref.tag == reference.tag)


def _manifest(digest: str, store: Store, cache: NodeCache, done: list[Repaired]) -> Manifest:
    """The stored manifest; if it is missing or damaged, the node cache's copy of it."""
    try:
        return store.read_manifest(digest)
    except (MissingManifest, ManifestError):
        try:
            manifest = read_manifest(cache.mark_path(digest).read_bytes(), digest)
        except (OSError, ManifestError):
            manifest = None
        if manifest is None:
            raise
    store.write_manifest(manifest)
    done.append(Repaired(f"{manifest.name}@{manifest.revision}", "manifest"))
    return manifest


def _repair_blobs(manifest: Manifest, store: Store, cache: NodeCache, catalog: Catalog | None) -> list[Repaired]:
    bad = {entry.sha256: entry for entry in manifest.files if not _right(store, entry)}
    if not bad:
        return []
    model = f"{manifest.name}@{manifest.revision}"
    done: list[Repaired] = []
    reasons: list[str] = []
    for file in _candidates(manifest, bad, cache, catalog, reasons):
        size = file.stat().st_size
        digest = hash_file(file) if any(entry.size == size for entry in bad.values()) else ""
        if digest in bad:
            entry = bad.pop(digest)
            store.put_blob(entry.sha256, entry.size, read_chunks(file))
            done.append(Repaired(model, entry.path))
        if not bad:
            return done
    raise _nowhere(manifest, store, bad, reasons)


def _right(store: Store, entry: FileEntry) -> bool:
    if not store.has_blob(entry.sha256, entry.size):
        return False
    return store.checked_blob(entry.sha256, entry.size) or hash_blob(store, entry) == entry.sha256


def _candidates(
    manifest: Manifest, bad: dict[str, FileEntry], cache: NodeCache, catalog: Catalog | None, reasons: list[str]
) -> Iterator[Path]:
    """Files that may be what is missing, the near ones first; their hash decides."""
    snapshot = cache.snapshot_path(manifest.digest)
    near = [path for entry in bad.values() for path in (snapshot / entry.path, cache.blob_path(entry.sha256))]
    yield from (path for path in near if path.is_file())
    for source in _sources(manifest, catalog):
        try:
            yield from source.collect().files.values()
        except ModelStoreError as error:
            reasons.append(error.problem)


def _sources(manifest: Manifest, catalog: Catalog | None) -> Iterator[Source]:
    if catalog is not None and manifest.name in catalog.entries:
        yield catalog.source(manifest.name)
        yield from (extra.source for extra in catalog.extra(manifest.name))
    for origin in (manifest.source, *manifest.extra):
        commit = f"@{origin.commit}" if origin.url.startswith("hub:") and origin.commit else ""
        yield parse_source(f"{origin.url}{commit}", catalog.base if catalog else None)


def _nowhere(manifest: Manifest, store: Store, bad: dict[str, FileEntry], reasons: list[str]) -> CorruptBlob:
    first = next(iter(bad.values()))
    paths = ", ".join(entry.path for entry in bad.values())
    why = f" {' '.join(reasons)}" if reasons else ""
    return CorruptBlob(
        f"{paths} of {manifest.name}@{manifest.revision} in the store at {store.url} cannot be repaired: the right "
        f"bytes are neither in the node cache nor in its sources.{why}",
        "Run this where the model is cached (--cache), bring its source here, or copy it from another store: "
        f"model-store copy {manifest.name} --store OTHER --to {store.url}",
        path=first.path,
        expected=first.sha256,
        got="",
    )
