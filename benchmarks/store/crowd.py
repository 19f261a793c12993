"""A crowd: processes that begin together on an empty cache, with locks that work and with locks that do nothing."""

from functools import partial
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench, Sample, in_turns, middle, ratio, reason
from benchmarks.store.children import Served, at_once, serving
from benchmarks.store.models import Model, model

SIZE = 0.5e9


def measure(bench: Bench, size: float = SIZE, peers: bool = True) -> dict[str, Any]:
    """For ours and, with `peers`, snapshot_download: one process, the crowd, and the crowd with flock a no-op.

    Bytes are counted where they are sent.
    """
    made = model(bench, size)
    with serving(made) as served:
        orders = {
            "ours": {"way": "ours", "name": made.name, "store": served.store},
            **({"snapshot_download": {"way": "hub", "hub": served.url}} if peers else {}),
        }
        cases = {
            f"{name}, {label}": partial(_fetch, bench, made, served, count, no_flock=broken, **order)
            for name, order in orders.items()
            for label, count, broken in _settings(bench)
        }
        return {"bytes": made.size, "crowd": bench.crowd, "cases": in_turns(cases, bench.rounds)}


def _settings(bench: Bench) -> list[tuple[str, int, bool]]:
    crowd = f"{bench.crowd} at once"
    return [("alone", 1, False), (crowd, bench.crowd, False), (f"{crowd}, flock a no-op", bench.crowd, True)]


def _fetch(bench: Bench, made: Model, served: Served, count: int, **order: Any) -> Sample:
    """One crowd: seconds until the last is done, bytes sent over the size, how many failed."""
    cache = bench.empty("crowd")
    before = served.stats()["sent"]
    seconds, results = at_once(count, cache=str(cache), **order)
    served.wait(active=0)
    errors = [str(result["error"]) for result in results if "error" in result]
    sent = (served.stats()["sent"] - before) / made.size
    bench.empty("crowd")
    return {"seconds": seconds, "sent": sent, "failed": len(errors), "errors": sorted(set(errors))}


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table."""
    title = f"{results['crowd']} processes at once on an empty cache, {results['bytes'] / 1e9:.2f} GB over HTTP"
    table = Table("case", "seconds", "/ alone", "bytes sent / size", "failed", title=title, title_justify="left")
    for name, samples in results["cases"].items():
        alone = middle(results["cases"][f"{name.partition(',')[0]}, alone"])
        failed = " ".join(str(sample["failed"]) for sample in samples)
        sent = max(sample["sent"] for sample in samples)
        table.add_row(name, f"{middle(samples):.2f}", ratio(middle(samples), alone), f"{sent:.2f}×", failed)
    bench.console.print(table)
    for name, samples in results["cases"].items():
        errors: list[str] = next((sample["errors"] for sample in samples if sample["errors"]), [])
        if errors or reason(samples):
            bench.console.print(f"{name}: {errors[0] if errors else reason(samples)}", style="dim")
