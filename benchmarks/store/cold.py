"""Cold: a snapshot into an empty cache, verified and fsynced by ours, beside what others do and what the machine can.

With `capped` each connection gets so many bytes per second: what a single stream from a bucket or a hub mostly gives.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench, Sample, in_turns, middle, ratio, reason, spread
from benchmarks.store.buckets import Bucket, bucket
from benchmarks.store.children import Served, capped, measured, serving
from benchmarks.store.models import Model, model

SIZES = (1.5e9, 3e9)
PEER = "snapshot_download, hub"
CHECKED = f"{PEER}, then hashed and fsynced"
LIMITS = ("limit: write and fsync", "limit: sha256, one core")
Cases = dict[str, Callable[[], Sample]]


def measure(bench: Bench, sizes: tuple[float, ...] = SIZES) -> dict[str, Any]:
    """The figures of all cases by size; for the first size also with capped connections."""
    results: dict[str, Any] = {}
    for size in sizes:
        made = model(bench, size)
        label = f"{made.size / 1e9:.2f} GB"
        with ExitStack() as stack:
            served, s3 = stack.enter_context(serving(made)), stack.enter_context(bucket(bench, made))
            free = {**near(bench, made), **_far(bench, made, served, s3)}
            results[label] = _with_checked({"bytes": made.size, "cases": in_turns(free, bench.rounds)})
            if size == sizes[0] and bench.cap:
                slow = _capped(bench, made, served, s3, stack)
                results[f"{label}, {bench.cap / 1e6:.0f} MB/s per connection"] = _with_checked(
                    {"bytes": made.size, "cases": in_turns(slow, bench.rounds), "cap": bench.cap}
                )
    return results


def _with_checked(result: dict[str, Any]) -> dict[str, Any]:
    """A case more: what the peer takes if its files are hashed and fsynced after it."""
    peer = result["cases"][PEER]
    result["cases"][CHECKED] = [{"seconds": sample["checked_s"]} for sample in peer if "checked_s" in sample] or peer
    return result


def _run(bench: Bench, way: str, environment: dict[str, str] | None = None, **order: Any) -> Sample:
    return measured(way, environment, cache=str(bench.empty("cold")), discard=True, **order)


def near(bench: Bench, made: Model) -> Cases:
    """The machine's limits, and what reads a directory."""
    run, files = partial(_run, bench), made.order()
    ours = partial(run, "ours", name=made.name, store=str(made.root))
    return {
        LIMITS[0]: partial(run, "write", size=made.size),
        LIMITS[1]: partial(run, "digest", files=files),
        "cp and fsync, directory": partial(run, "copy", files=files),
        "ours, directory": ours,
        "ours, directory, hard links": partial(ours, link=True),
    }


def _far(bench: Bench, made: Model, served: Served, s3: Bucket | str) -> Cases:
    """What reads a hub, a web server or a bucket."""
    run = partial(_run, bench)
    keys = {path: blob.relative_to(made.root).as_posix() for path, blob in made.blobs().items()}
    web: Cases = {
        PEER: partial(run, "hub", hub=served.url, check=True),
        "obstore get, HTTP": partial(run, "plain_get", url=served.store, keys=keys),
        "ours, HTTP": partial(run, "ours", name=made.name, store=served.store),
    }
    return {**web, **_bucket(bench, made, s3, "", plain=True)}


def _capped(bench: Bench, made: Model, served: Served, s3: Bucket | str, stack: ExitStack) -> Cases:
    run = partial(_run, bench)
    web = stack.enter_context(capped(served.url, bench.cap))
    cases: Cases = {
        PEER: partial(run, "hub", hub=web, check=True),
        "ours, HTTP": partial(run, "ours", name=made.name, store=f"{web}/store"),
    }
    endpoint = stack.enter_context(capped(s3.endpoint, bench.cap)) if isinstance(s3, Bucket) else ""
    return {**cases, **_bucket(bench, made, s3, endpoint, plain=False)}


def _bucket(bench: Bench, made: Model, s3: Bucket | str, endpoint: str, *, plain: bool) -> Cases:
    names = ["boto3 download_file, S3", *(["obstore get, S3"] if plain else []), "ours, S3"]
    if isinstance(s3, str):
        return {name: partial(dict[str, Any], absent=s3) for name in names}
    run, there = partial(_run, bench), s3.environment(endpoint)
    cases: Cases = {
        "boto3 download_file, S3": partial(run, "s3_transfer", there, bucket=s3.name, keys=s3.keys),
        "obstore get, S3": partial(run, "plain_get", there, bucket=s3.name, keys=s3.keys),
        "ours, S3": partial(run, "ours", there, name=made.name, store=s3.store),
    }
    return {name: cases[name] for name in names}


def show(bench: Bench, results: dict[str, Any]) -> None:
    """A table for each size, with and without a cap."""
    for label, result in results.items():
        columns = (
            "seconds (range)",
            "MB/s",
            "processor s",
            "peak MB",
            "/ snapshot_download",
            "/ limit",
            "/ sum of limits",
        )
        table = Table("case", *columns, title=f"Cold fetch of {label}", title_justify="left")
        cases = result["cases"]
        limits = [middle(cases[name]) for name in LIMITS if name in cases]
        for name, samples in cases.items():
            table.add_row(name, *_row(samples, result["bytes"], middle(cases[PEER]), limits))
        bench.console.print(table)


def _row(samples: list[Sample], size: int, peer: float, limits: list[float]) -> list[str]:
    if reason(samples):
        return [reason(samples)]
    seconds = middle(samples)
    bounds = [ratio(seconds, max(limits)), ratio(seconds, sum(limits))] if limits else ["–", "–"]
    cpu, peak = middle(samples, "cpu_s"), max((sample.get("peak_mb", 0) for sample in samples), default=0)
    work = [f"{cpu:.2f}" if cpu == cpu else "–", f"{peak:.0f}" if peak else "–"]
    return [spread(samples), f"{size / seconds / 1e6:.0f}", *work, ratio(seconds, peer), *bounds]
