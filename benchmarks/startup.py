"""How long `rayscribe serve configs/local.yaml` takes to answer and to be ready, and what it holds when idle.

    python -m benchmarks.startup [--starts 3]

Beside it, in turns: Ray's own `serve run`, whose processes each import what they need. `first` is the first transcript,
of `fast`; `ready` is every preset that is awake. Processor seconds are of all processes that live when it is ready;
memory is their proportional set size (shared pages divided among their users), idle, and the last figure what they take
of the processor then. The parts are each replica's. `serve run` has Ray's dashboard, ours has not.
"""

import re
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, percentile, save
from demo.service import OURS, RAYS, Service

LOADED = re.compile(r"(\w+)_(\w+) \S+ -- loaded (\S+) in ([\d.]+) s: (.*)")
LOCAL = "http://127.0.0.1:8000"
LAST = "log_monitor.py"
SETTLES_S, IDLE_S = 10.0, 30.0
CLIP = ROOT / "tests" / "data" / "ten_seconds.flac"
WAYS = {"rayscribe serve": OURS, "serve run": RAYS}
MEASURES = {
    "first_s": "first transcript, s",
    "ready_s": "ready, s",
    "cpu_s": "processor, s",
    "memory_mb": "memory, MB",
    "idle_percent": "idle, % of a core",
}


def main(starts: Annotated[int, typer.Option(help="how often; the first warms the disk cache")] = 3) -> None:
    """Start, measure, stop; print and save."""
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(starts):
        for way, command in WAYS.items():
            found[way].append(_start(command, Path(".rayscribe/startup.log")))
    console = Console(width=130)
    console.print(_table(found))
    for line in found["rayscribe serve"][-1]["loads"]:
        console.print(line)
    for name, megabytes in sorted(found["rayscribe serve"][-1]["processes_mb"].items(), key=lambda row: -row[1]):
        console.print(f"{megabytes:6.0f} MB  {name}")
    save("startup", found)


def _table(found: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("median", *MEASURES.values())
    for way, starts in found.items():
        medians = (percentile([start[measure] for start in starts], 0.5) for measure in MEASURES)
        table.add_row(way, *(f"{value:.1f}" for value in medians))
    return table


def _start(command: tuple[str, ...], log: Path) -> dict[str, Any]:
    began = time.monotonic()
    service = Service(ROOT / "configs" / "local.yaml", log, command=command)
    first: list[float] = []
    try:
        for presets in service.until_ready(f"{LOCAL}/ready", 600):
            if not first and presets.get("fast", {}).get("state") == "ready":
                first += _transcribe(began)
        ready = time.monotonic() - began
        first = first or _transcribe(began)
        seconds = _cpu(_processes(service.pid))
        _until_last(service.pid)
        loads = [" ".join(match.groups()) for match in LOADED.finditer(log.read_text(errors="replace"))]
        memory = _memory(_processes(service.pid))
        return {
            "first_s": first[0],
            "ready_s": ready,
            "cpu_s": seconds,
            "memory_mb": sum(memory.values()),
            "idle_percent": _idle_percent(service.pid),
            "processes_mb": memory,
            "loads": loads,
        }
    finally:
        service.stop()


def _transcribe(began: float) -> list[float]:
    with CLIP.open("rb") as file:
        form = {"model": "fast", "response_format": "text"}
        answer = httpx.post(f"{LOCAL}/v1/audio/transcriptions", data=form, files={"file": file}, timeout=300)
    return [time.monotonic() - began] if answer.status_code == httpx.codes.OK else []


def _until_last(pid: int) -> None:
    """Wait for what starts last, which holds memory too."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if LAST in {_name(process) for process in _processes(pid)}:
            return
        time.sleep(0.3)  # between two looks at a condition


def _idle_percent(pid: int) -> float:
    """Return the processor time that is taken while nothing is asked, in percent of one core."""
    time.sleep(SETTLES_S)
    before, began = _cpu(_processes(pid)), time.monotonic()
    time.sleep(IDLE_S)
    return 100 * (_cpu(_processes(pid)) - before) / (time.monotonic() - began)


def _processes(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu(processes: list[psutil.Process]) -> float:
    seconds = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def _memory(processes: list[psutil.Process]) -> dict[str, float]:
    held: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            held[_name(process)] += process.memory_full_info().pss / 1e6
    return dict(held)


def _name(process: psutil.Process) -> str:
    line = process.cmdline()
    title = line[0] if line else process.name()
    if title.startswith("ray::"):
        return title
    if "-m" in line:
        return line[line.index("-m") + 1]
    script = next((Path(part).name for part in line if part.endswith(".py") or "/bin/" in part), process.name())
    return Path(line[1]).name if len(line) > 1 and "serve" in line[1] else script


if __name__ == "__main__":
    typer.run(main)
