"""A measurement in a process of its own, and what that process takes."""

import json
import subprocess
import sys

from benchmarks.common import ROOT


def in_a_process(module: str, argument: str) -> dict[str, float]:
    """Run a module with an argument; return the figures that its last line says."""
    command = [sys.executable, "-m", module, argument]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def status(name: str) -> float:
    """Return a figure of this process in MB: `VmRSS`, `VmHWM` (the peak)."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith(name))
