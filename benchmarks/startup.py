"""How long `serve run configs/local.yaml` takes to be ready, what its parts take, and what it holds when idle.

    python -m benchmarks.startup [--starts 3]

Memory is the proportional set size (shared pages divided among their users) of every process of the service, idle.
The parts are what each stage replica logs: import, fetch, load, warm-up.
"""

import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, percentile, save
from demo.service import Service

LOADED = re.compile(r"(\w+)_(\w+) \S+ -- loaded (\S+) in ([\d.]+) s: (.*)")
URL = "http://127.0.0.1:8000/ready"


def main(starts: Annotated[int, typer.Option(help="how often; the first warms the disk cache")] = 3) -> None:
    """Start, measure, stop; print and save."""
    found = [_start(Path(".rayscribe/startup.log")) for _ in range(starts)]
    memory: dict[str, float] = found[-1]["memory_mb"]
    table = Table("process", "PSS, MB")
    for name, megabytes in sorted(memory.items(), key=lambda row: -row[1]):
        table.add_row(name, f"{megabytes:.0f}")
    table.add_row("all", f"{sum(memory.values()):.0f}")
    console = Console(width=130)
    console.print(table)
    for line in found[-1]["loads"]:
        console.print(line)
    seconds = [start["ready_s"] for start in found]
    console.print(
        f"ready after {', '.join(f'{value:.0f}' for value in seconds)} s; median {percentile(seconds, 0.5):.0f} s"
    )
    save("startup", {"starts": found, "memory_mb": sum(memory.values())})


def _start(log: Path) -> dict[str, Any]:
    began = time.monotonic()
    service = Service(ROOT / "configs" / "local.yaml", log)
    try:
        for _ in service.until_ready(URL, 600):
            pass
        ready = time.monotonic() - began
        loads = [" ".join(match.groups()) for match in LOADED.finditer(log.read_text(errors="replace"))]
        return {"ready_s": ready, "loads": loads, "memory_mb": _memory(service.pid)}
    finally:
        service.stop()


def _memory(pid: int) -> dict[str, float]:
    parent = psutil.Process(pid)
    held: defaultdict[str, float] = defaultdict(float)
    for process in (parent, *parent.children(recursive=True)):
        try:
            held[_name(process)] += process.memory_full_info().pss / 1e6
        except psutil.NoSuchProcess:
            continue
    return dict(held)


def _name(process: psutil.Process) -> str:
    line = process.cmdline()
    title = line[0] if line else process.name()
    if title.startswith("ray::"):
        return title
    script = next((Path(part).name for part in line if part.endswith(".py") or "/bin/" in part), process.name())
    return Path(line[1]).name if len(line) > 1 and "serve" in line[1] else script


if __name__ == "__main__":
    typer.run(main)
