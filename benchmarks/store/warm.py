"""Warm: from a name to a directory that is there; ours checks that it is complete, and mostly without a request."""

import os
import time
from collections.abc import Callable
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench, middle, ratio
from benchmarks.store.children import Served, measured, serving
from benchmarks.store.models import Model, model

SIZE = 1.5e9
RUNS = 20
OFFLINE, ONLINE = "snapshot_download, offline, unchecked", "snapshot_download, pinned commit"


def measure(bench: Bench, size: float = SIZE) -> dict[str, Any]:
    """Seconds and requests of each way, in this process, after three calls to warm up."""
    made, results = model(bench, size), {}
    cache = bench.empty("warm")
    with serving(made) as served:
        measured("ours", cache=str(cache / "ours"), name=made.tagged, store=served.store)
        measured("hub", cache=str(cache / "hub"), hub=served.url)
        calls = _calls(made, served, str(cache))
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(3 + RUNS * bench.rounds):
            for name, call in calls.items():
                seconds = _timed(call)
                times[name] += [seconds] if turn >= 3 else []
        for name, call in calls.items():
            results[name] = {
                "samples": [{"seconds": seconds} for seconds in times[name]],
                "requests": _requests(served, call),
            }
    return results


def _calls(made: Model, served: Served, cache: str) -> dict[str, Callable[[], Any]]:
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import snapshot_download

    from benchmarks.store.server import COMMIT, REPO
    from model_store import NodeCache, fetch, open_store

    web, kept = open_store(served.store), NodeCache(f"{cache}/ours")
    pinned: dict[str, Any] = {"revision": COMMIT, "cache_dir": f"{cache}/hub", "endpoint": served.url}
    return {
        OFFLINE: lambda: snapshot_download(REPO, local_files_only=True, **pinned),
        ONLINE: lambda: snapshot_download(REPO, **pinned),
        "ours, pinned digest": lambda: fetch(made.name, web, kept),
        "ours, tag, directory": lambda: fetch(made.tagged, made.store, kept),
        "ours, tag, HTTP": lambda: fetch(made.tagged, web, kept),
    }


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _requests(served: Served, call: Callable[[], Any]) -> int:
    before = served.stats()["requests"]
    call()
    return served.stats()["requests"] - before


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table."""
    columns = ("median ms", "requests", "/ pinned commit", "/ offline")
    table = Table("case", *columns, title="Warm resolve", title_justify="left")
    online, offline = (middle(results[name]["samples"]) for name in (ONLINE, OFFLINE))
    for name, result in results.items():
        seconds = middle(result["samples"])
        row = [f"{seconds * 1000:.3f}", str(result["requests"]), f"{seconds / online:.3f}×", ratio(seconds, offline)]
        table.add_row(name, *row)
    bench.console.print(table)
