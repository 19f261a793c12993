"""Verification of all bytes: ours (blake3 over all cores) beside sha256, from the page cache and from the disk."""

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench, Sample, in_turns, middle, ratio, spread
from benchmarks.store.models import Model, drop_from_page_cache, model, read_through
from model_store import FetchOptions, NodeCache, fetch, verify

SIZE = 3e9
PEER = "sha256, one core"


def measure(bench: Bench, size: float = SIZE) -> dict[str, Any]:
    """Seconds of each way, warm and with the files dropped from the page cache before."""
    made = model(bench, size)
    snapshot = fetch(made.name, made.store, NodeCache(bench.empty("verify")), FetchOptions(link=True))
    files = [snapshot.path / entry.path for entry in snapshot.manifest.files]

    def check() -> None:
        found = verify(snapshot, deep=True)
        assert not found, found

    ways: dict[str, Callable[[], None]] = {
        PEER: partial(_sha256, files),
        "sha256sum": partial(_sha256sum, files),
        "limit: blake3 of mapped memory, all cores": partial(_blake3, files),
        "ours, verify deep": check,
    }
    cases = {f"{name}{label}": partial(_run, way, made, cold) for label, cold in _STATES for name, way in ways.items()}
    return {"bytes": made.size, "cases": in_turns(cases, bench.rounds)}


_STATES = (("", False), (", not in the page cache", True))


def _run(way: Callable[[], None], made: Model, cold: bool) -> Sample:
    for blob in made.blobs().values():
        drop_from_page_cache(blob) if cold else read_through(blob)
    began = time.perf_counter()
    way()
    return {"seconds": time.perf_counter() - began}


def _sha256(files: list[Path]) -> None:
    from model_store.files import hash_file

    for file in files:
        hash_file(file)


def _sha256sum(files: list[Path]) -> None:
    subprocess.run(["sha256sum", *map(str, files)], check=True, stdout=subprocess.DEVNULL)


def _blake3(files: list[Path]) -> None:
    from blake3 import blake3

    for file in files:
        blake3(max_threads=blake3.AUTO).update_mmap(file).digest()


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table."""
    title = f"Verification of {results['bytes'] / 1e9:.2f} GB"
    table = Table("case", "seconds (range)", "GB/s", f"/ {PEER}", title=title, title_justify="left")
    for name, samples in results["cases"].items():
        peer = middle(results["cases"][PEER + name.removeprefix(name.partition(", not")[0])])
        seconds = middle(samples)
        table.add_row(name, spread(samples), f"{results['bytes'] / seconds / 1e9:.2f}", ratio(seconds, peer))
    bench.console.print(table)
