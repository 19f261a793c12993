"""Loading: models of real size with random weights, as they are saved, each in a fresh process on the processor."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.store import whisper_files
from benchmarks.store.bench import Bench, Sample, in_turns, middle, ratio, reason, spread
from benchmarks.store.children import measured
from benchmarks.store.models import drop_from_page_cache, read_through

FORMS = ("safetensors", "bin")
STATES = ("warm", "cold")


def measure(bench: Bench) -> dict[str, Any]:
    """Seconds and peak memory, with the files in the page cache and not; one model after the other."""
    folder = bench.work / "models"
    results: dict[str, Any] = {}
    for size in bench.sizes:
        paths = {stored: whisper_files.whisper(folder, size, stored) for stored in whisper_files.STORED}
        results[f"whisper {size}"] = _measure(bench, "load_whisper", paths)
    paths = {form: whisper_files.wav2vec2(folder, form) for form in FORMS}
    results[whisper_files.WAV2VEC2] = _measure(bench, "load_wav2vec2", paths)
    return results


def _measure(bench: Bench, way: str, paths: dict[str, Path]) -> dict[str, Any]:
    cases = {f"{form}, {state}": partial(_load, way, path, state) for form, path in paths.items() for state in STATES}
    sizes = {form: sum(file.stat().st_size for file in path.iterdir()) for form, path in paths.items()}
    return {"bytes": sizes, "cases": in_turns(cases, bench.rounds)}


def _load(way: str, path: Path, state: str) -> Sample:
    for file in path.iterdir():
        drop_from_page_cache(file) if state == "cold" else read_through(file)
    return measured(way, path=str(path))


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table; the ratios are over the first way of saving."""
    columns = ("MB on disk", "seconds warm", "seconds cold", "peak MB", "time, warm", "memory")
    table = Table("model", "saved as", *columns, title="Loading, int8 on the processor", title_justify="left")
    for name, result in results.items():
        first = next(iter(result["bytes"]))
        for form in result["bytes"]:
            table.add_row(name, form, *_row(result, form, first))
    bench.console.print(table)


def _row(result: dict[str, Any], form: str, first: str) -> list[str]:
    warm, cold = (result["cases"][f"{form}, {state}"] for state in STATES)
    base = result["cases"][f"{first}, warm"]
    if reason(warm):
        return [f"{result['bytes'][form] / 1e6:.0f}", reason(warm)]
    ratios = [ratio(middle(warm, key), middle(base, key)) for key in ("seconds", "peak_mb")]
    return [f"{result['bytes'][form] / 1e6:.0f}", spread(warm), spread(cold), f"{middle(warm, 'peak_mb'):.0f}", *ratios]
