"""Fetching a snapshot and holding it, in such a way that no eviction comes between."""

from collections.abc import Callable

from model_store.cache.leases import Lease
from model_store.cache.node_cache import NodeCache
from model_store.errors import CacheError
from model_store.fetching.fetch import FetchOptions, Snapshot, fetch
from model_store.stores import Store

ATTEMPTS = 3


def fetch_and_hold(
    name: str,
    store: Store,
    cache: NodeCache,
    options: FetchOptions | None = None,
    fetching: Callable[[str, Store, NodeCache, FetchOptions | None], Snapshot] = fetch,
) -> tuple[Snapshot, Lease]:
    """Fetch a snapshot for as long as this process uses it: nobody evicts it until the lease is released.

    `fetching` is `fetch`, or the cluster's way of doing it.
    Raises what `fetch` raises, and CacheError if others evict it again and again.
    """
    for _ in range(ATTEMPTS):
        snapshot = fetching(name, store, cache, options)
        lease = cache.hold(snapshot.digest)
        if cache.lookup(snapshot.digest) is not None:
            return snapshot, lease
        lease.release()
    raise CacheError(
        f"{name} is evicted from the node cache at {cache.root} as soon as it is fetched.",
        "The cache is too small for what runs here: raise RAYSCRIBE_CACHE_QUOTA, or pin the model.",
    )
