"""How a stage replica gets its model: imports and fetch side by side, then load, then warm up; one log line."""

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from model_store import NodeCache, Snapshot, fetch, open_store
from serve_app.config import StoreArgs

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
    """Fetch a snapshot while its libraries are imported, then build the model from it and warm it up."""
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(lambda: fetch(name, open_store(store.url), NodeCache(store.cache)))
        import_libraries()
        imported = time.perf_counter()
        snapshot = fetching.result()
    ready_to_load = time.perf_counter()
    model = build(snapshot)
    built = time.perf_counter()
    model.warm_up()
    warm = time.perf_counter()
    logger.info(
        "loaded %s in %.2f s: import %.2f, resolve %.3f, fetch %.3f (waited %.2f), load %.2f, warm-up %.2f",
        *(name, warm - began, imported - began, snapshot.timings.resolve_s, snapshot.timings.fetch_s),
        *(ready_to_load - imported, built - ready_to_load, warm - built),
    )
    return model


def threads_for(wanted: int) -> int:
    """Return the CPU threads of a replica: as asked for, else what Ray granted (OMP_NUM_THREADS), else all cores."""
    return wanted or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
