"""How a stage replica gets its model: imports and fetch side by side, then load, then warm up; one log line."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Protocol, TypeVar

from ray.serve.metrics import Histogram

from model_store import (
    FetchOptions,
    Lease,
    NodeCache,
    Snapshot,
    TrustPolicy,
    fetch,
    fetch_and_hold,
    open_store,
    parse_size,
    pull,
)
from serve_app import heap
from serve_app.config import StoreArgs
from serve_app.facts import ModelFacts
from serve_app.priorities import stepped_back

_held: list[tuple[Snapshot, Lease]] = []
"""The models in this process, and their leases, which end with it."""
logger = logging.getLogger("ray.serve.rayscribe")
"""A child of Serve's logger, so that its lines stand in the replica's log."""


class Model(Protocol):
    """What every stage's model can do besides its own work."""

    def warm_up(self) -> None:
        """Run once on something short, so that the first request pays no first-time cost."""


Loaded = TypeVar("Loaded", bound=Model)


def load(
    name: str, store: StoreArgs, import_libraries: Callable[[], object], build: Callable[[Snapshot], Loaded]
) -> Loaded:
    """Fetch a snapshot while its libraries are imported, then build the model from it and warm it up.

    All of it steps back, so that what is ready already is not slowed down by what starts.
    """
    heap.keep()
    return stepped_back(lambda: _load(name, store, import_libraries, build))


def _load(
    name: str, store: StoreArgs, import_libraries: Callable[[], object], build: Callable[[Snapshot], Loaded]
) -> Loaded:
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(get_snapshot, name, store)
        import_libraries()
        imported = time.perf_counter()
        snapshot, lease = fetching.result()
    ready_to_load = time.perf_counter()
    model = build(snapshot)
    built = time.perf_counter()
    model.warm_up()
    warm = time.perf_counter()
    _held.append((snapshot, lease))
    tell(
        name,
        {
            "import": imported - began,
            "resolve": snapshot.timings.resolve_s,
            "fetch": snapshot.timings.fetch_s,
            "verify": snapshot.timings.verify_s,
            "wait": ready_to_load - imported,
            "load": built - ready_to_load,
            "warm_up": warm - built,
            "total": warm - began,
        },
    )
    return model


def loaded() -> tuple[ModelFacts, ...]:
    """Return what this process has loaded."""
    return tuple(_facts(snapshot) for snapshot, _ in _held)


def _facts(snapshot: Snapshot) -> ModelFacts:
    about = snapshot.manifest
    return ModelFacts(about.name, about.revision, snapshot.digest, about.kind, about.licence, about.languages)


def get_snapshot(name: str, store: StoreArgs) -> tuple[Snapshot, Lease]:
    """Fetch as the store's arguments say; nobody evicts the snapshot from the node cache while the lease is held."""
    quota = None if store.quota is None else parse_size(store.quota)
    place = NodeCache(store.cache, quota_bytes=quota)
    trust = TrustPolicy(tuple(Path(key) for key in store.keys), store.allow_pickle)
    return fetch_and_hold(name, open_store(store.url), place, FetchOptions(trust=trust), fetcher(store))


def fetcher(store: StoreArgs) -> Callable[..., Snapshot]:
    """Return how to fetch: by this node alone or with the cluster's others; what the store lacks online, if allowed."""
    fetching: Callable[..., Snapshot] = fetch
    if store.peers:
        from model_store.cluster.on_ray import fetch_in_cluster

        fetching = fetch_in_cluster
    return partial(pull, catalog=Path(store.catalog), fetching=fetching) if store.catalog else fetching


def tell(name: str, seconds: dict[str, float]) -> None:
    """Write what loading took to the replica's log and to Ray's metrics: `rayscribe_load_seconds` by model and part."""
    parts = ", ".join(f"{part} {value:.3f}" for part, value in seconds.items() if part != "total")
    logger.info("loaded %s in %.2f s: %s", name, seconds["total"], parts)
    for part, value in seconds.items():
        _load_seconds().observe(value, {"model": name, "part": part})


@cache
def _load_seconds() -> Histogram:
    """A histogram, as Ray forgets a gauge that is not set again, and a start is once."""
    about = "what replicas' starts took, by part"
    return Histogram("rayscribe_load_seconds", about, boundaries=[0.1, 1, 5, 10, 30, 60], tag_keys=("model", "part"))


def gpu_share() -> float:
    """Return the share of a GPU that Ray granted this replica; 0 for none, and outside of Ray."""
    import ray

    if not ray.is_initialized():
        return 0.0
    return float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0))


def threads_for(wanted: int) -> int:
    """Return the CPU threads of a replica: as asked for, else what Ray granted (OMP_NUM_THREADS), else all cores."""
    return wanted or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
