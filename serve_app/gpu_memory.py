"""How much memory a GPU has: what the environment says, else what the driver says of this machine's GPUs."""

import os
from collections.abc import Callable, Sequence

from serve_app.hardware.nvidia import Gpu, look

VARIABLE = "RAYSCRIBE_GPU_MEMORY_GB"


class BadGpuMemory(Exception):
    """The environment variable holds no size."""


def gpu_memory_gb(gpus: Callable[[], Sequence[Gpu]] = lambda: look()[1]) -> float | None:
    """Return the GB (10⁹ bytes) of the smallest GPU; None when nobody knows of one. Raises BadGpuMemory."""
    if stated := os.environ.get(VARIABLE):
        return _number(stated)
    return min((gpu.memory_gb for gpu in gpus()), default=None)


def _number(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise BadGpuMemory(f"{VARIABLE} is {text!r}; give the GB of one GPU as a number, such as 24")
    return size
