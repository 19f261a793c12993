"""Resume: a fetch that is killed when 60 % of the bytes are sent, and the bytes that are sent again after it."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench, Sample, in_turns, middle, reason
from benchmarks.store.children import Child, Served, measured, serving
from benchmarks.store.models import Model, model

SIZE = 1.5e9
KILLED_AT = 0.6


def measure(bench: Bench, size: float = SIZE) -> dict[str, Any]:
    """Bytes sent again, for both."""
    made = model(bench, size)
    with serving(made) as served:
        cases = {
            "ours": partial(_resume, bench, made, served, "ours", name=made.name, store=served.store),
            "snapshot_download": partial(_resume, bench, made, served, "hub", hub=served.url),
        }
        return {"bytes": made.size, "cases": in_turns(cases, bench.rounds)}


def _resume(bench: Bench, made: Model, served: Served, way: str, **order: Any) -> Sample:
    cache = bench.empty("resume")
    before = served.stats()["sent"]
    killed_in(cache, int(made.size * KILLED_AT), served, way, **order)
    sample = measured(way, cache=str(cache), **order)
    sample["again"] = served.stats()["sent"] - before - made.size
    bench.empty("resume")
    return sample


def killed_in(cache: Path, after: int, served: Served, way: str, **order: Any) -> None:
    """Begin to fetch, and kill the process once so many bytes are sent."""
    before = served.stats()["sent"]
    served.stall(after)
    child = Child(way, cache=str(cache), **order)
    child.ready()
    child.go()
    served.wait(sent=before + after)
    child.kill()
    served.stall(-1)
    served.wait(active=0)


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table."""
    title = f"Killed at {KILLED_AT:.0%} of {results['bytes'] / 1e9:.2f} GB, fetched again"
    columns = ("MB sent again, median", "largest", "of the size", "seconds of the second fetch")
    table = Table("case", *columns, title=title, title_justify="left")
    for name, samples in results["cases"].items():
        again = [sample["again"] for sample in samples]
        row = [f"{middle(samples, 'again') / 1e6:.1f}", f"{max(again) / 1e6:.1f}"]
        share = f"{max(again) / results['bytes']:.1%}"
        table.add_row(name, *row, share, reason(samples) or f"{middle(samples):.2f}")
    bench.console.print(table)
