"""Taking models away: refs from a store, snapshots from a node cache."""

from dataclasses import dataclass

from model_store.cache.eviction import evict
from model_store.cache.node_cache import NodeCache
from model_store.cache.usage import SnapshotUse, measure
from model_store.errors import CacheError, ManifestError, MissingManifest, NotPublished
from model_store.fetching.fetch import not_published
from model_store.fetching.lookup import select_refs
from model_store.manifest import Manifest
from model_store.references import Reference
from model_store.stores import Ref, Store


@dataclass(frozen=True)
class Removed:
    """Refs that are gone from a store; `still_named`: other refs to the same; `bytes`: what gc can free now."""

    refs: tuple[Ref, ...]
    still_named: tuple[Ref, ...]
    bytes: int


def remove_refs(name: str, store: Store, *, all_tags: bool = False) -> Removed:
    """Forget `name@tag`; a bare name means its latest and every tag that stands for the same, or with `all_tags` all.

    Raises NotPublished if there is none. The files stay until gc.
    """
    going = _all_tags(name, store) if all_tags else select_refs(name, store)[1]
    if not going:
        raise NotPublished(f"No ref of the store at {store.url} names {name}.", "See model-store list.")
    staying = [ref for ref in store.list_refs() if ref not in going]
    for ref in going:
        store.delete_ref(ref.name, ref.tag)
    digests = {ref.digest for ref in going}
    still_named = tuple(ref for ref in staying if ref.digest in digests)
    return Removed(tuple(going), still_named, _freed(store, digests, {ref.digest for ref in staying}))


def _all_tags(name: str, store: Store) -> list[Ref]:
    reference = Reference.parse(name)
    refs = [ref for ref in store.list_refs() if ref.name == reference.name]
    if not refs:
        raise not_published(reference, store)
    return refs


def _freed(store: Store, gone: set[str], staying: set[str]) -> int:
    """Bytes that no named manifest needs any more."""
    needed = {entry.sha256 for manifest in _readable(store, staying) for entry in manifest.files}
    unused = {entry.sha256: entry.size for manifest in _readable(store, gone) for entry in manifest.files}
    return sum(size for digest, size in unused.items() if digest not in needed)


def _readable(store: Store, digests: set[str]) -> list[Manifest]:
    found = []
    for digest in digests:
        try:
            found.append(store.read_manifest(digest))
        except (MissingManifest, ManifestError):
            continue
    return found


def remove_cached(name: str, cache: NodeCache, *, all_tags: bool = False, force: bool = False) -> list[SnapshotUse]:
    """Remove snapshots from a node cache; raises CacheError for one that is pinned or in use, unless `force`."""
    with cache.writing(), cache.single_flight("eviction", 60.0):
        uses = {use.digest: use for use in measure(cache).snapshots}
        chosen = [uses[digest] for digest in _digests(name, cache, all_tags) if digest in uses]
        for use in chosen:
            if use.kept and not force:
                raise _kept(use, cache)
        return [use for use in chosen if evict(cache, use.digest, forced=force)]


def _digests(name: str, cache: NodeCache, all_tags: bool) -> list[str]:
    reference = Reference.parse(name)
    if not all_tags:
        return [cache.find(reference).digest]
    found = [manifest.digest for manifest in cache.manifests() if manifest.name == reference.name]
    return found or [cache.find(reference).digest]


def _kept(use: SnapshotUse, cache: NodeCache) -> CacheError:
    held = ", ".join(map(str, use.holders))
    why, mend = ("is pinned", f"model-store unpin {use.model}") if use.pinned else (f"is used by {held}", "Stop it")
    return CacheError(
        f"{use.model} in the node cache at {cache.root} {why}.", f"{mend}, or give --force.", digest=use.digest
    )
