"""One 10 s clip on a warm, idle service, against in-process whisperx with the same models, threads, windows and beam.

    python -m benchmarks.latency [--url http://…] [--runs 30]

The two take turns in one run; the ratio is the service's median over whisperx's. The parts come from the answer's
`Server-Timing` header; `http` is what the client waited beyond the pipeline's own total.
"""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, ask, percentile, save, service
from benchmarks.in_process import WhisperX
from serve_app.config import VadArgs
from serve_app.models.audio import decode

CLIP = ROOT / "tests" / "data" / "ten_seconds.flac"
VAD = VadArgs(window_s=10, pause_s=0.8)
CASES: dict[str, dict[str, str]] = {
    "fast, text only": {"model": "fast", "response_format": "json"},
    "high, words and speakers": {"model": "high", "response_format": "diarized_json"},
}
THREADS = 2


def main(url: str | None = None, runs: Annotated[int, typer.Option(help="per case and side")] = 30) -> None:
    """Measure, print and save."""
    data = CLIP.read_bytes()
    peers = _peers(data)
    with service(url) as base:
        results = {case: _measure(partial(ask, base, data, **form), peers[case], runs) for case, form in CASES.items()}
    _print(results)
    save("latency", {"runs": runs, "clip_s": len(decode(data)) / 16_000, "cases": results})


def _peers(data: bytes) -> dict[str, Callable[[], Any]]:
    fast, high = WhisperX(1, THREADS, VAD, speakers=False), WhisperX(5, THREADS, VAD, speakers=True)
    return {
        "fast, text only": lambda: fast.transcribe(decode(data)),
        "high, words and speakers": lambda: high.full(decode(data)),
    }


def _measure(ours: Callable[[], Any], theirs: Callable[[], Any], runs: int) -> dict[str, Any]:
    for _ in range(3):
        ours(), theirs()
    walls: list[float] = []
    peer: list[float] = []
    parts: dict[str, list[float]] = {}
    for _ in range(runs):
        began = time.perf_counter()
        response = ours()
        walls.append(time.perf_counter() - began)
        for name, seconds in _parts(response.headers["server-timing"], walls[-1]).items():
            parts.setdefault(name, []).append(seconds)
        began = time.perf_counter()
        theirs()
        peer.append(time.perf_counter() - began)
    return {
        "service_s": _summary(walls),
        "whisperx_s": _summary(peer),
        "ratio": {name: _summary(walls)[name] / _summary(peer)[name] for name in ("p50", "p95")},
        "parts_p50_s": {name: percentile(values, 0.5) for name, values in parts.items()},
    }


def _parts(header: str, wall: float) -> dict[str, float]:
    parts = {name: float(ms) / 1000 for name, ms in re.findall(r"(\w+);dur=([\d.]+)", header)}
    return {"http": wall - parts.pop("total"), **parts}


def _summary(values: list[float]) -> dict[str, float]:
    return {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95)}


def _print(results: dict[str, Any]) -> None:
    table = Table("case", "service p50 / p95", "whisperx p50 / p95", "ratio p50 / p95", "parts at p50 (ms)")
    for case, result in results.items():
        parts = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in result["parts_p50_s"].items())
        pairs = (
            f"{s['p50'] * 1000:.0f} / {s['p95'] * 1000:.0f} ms" for s in (result["service_s"], result["whisperx_s"])
        )
        table.add_row(case, *pairs, f"{result['ratio']['p50']:.2f} / {result['ratio']['p95']:.2f}", parts)
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
