"""How much memory a GPU has: what the environment says, else what the driver says of this machine's GPUs."""

import os
import subprocess
from collections.abc import Callable

VARIABLE = "RAYSCRIBE_GPU_MEMORY_GB"
QUERY = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


class BadGpuMemory(Exception):
    """The environment variable holds no size."""


def gpu_memory_gb(ask: Callable[[], str] | None = None) -> float | None:
    """Return the GB (10⁹ bytes) of the smallest GPU; None when nobody knows of one. Raises BadGpuMemory."""
    if stated := os.environ.get(VARIABLE):
        return _number(stated)
    try:
        sizes = [float(line) * 2**20 / 1e9 for line in (ask or _ask_driver)().split()]
    except (OSError, ValueError, subprocess.SubprocessError):  # no driver here, or one that does not say
        return None
    return round(min(sizes), 1) if sizes else None


def _number(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise BadGpuMemory(f"{VARIABLE} is {text!r}; give the GB of one GPU as a number, such as 24")
    return size


def _ask_driver() -> str:
    return subprocess.run(QUERY, capture_output=True, text=True, timeout=20, check=True).stdout
