"""This machine in figures, looked at once an hour: `Machine`."""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serve_app.hardware.limits import cpus, memory_bytes
from serve_app.hardware.nvidia import Driver, Gpu, look

KEPT_S = 3600.0
FILE = "machine.json"
"""In the node cache, which belongs to one machine."""
SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, or the part of it that this container may use; sizes in GB (10⁹ bytes)."""

    cpus: float
    memory_gb: float
    gpus: tuple[Gpu, ...] = ()
    driver: Driver | None = None
    shared_memory_gb: float | None = None

    @property
    def gpu_gb(self) -> float:
        """The memory of the smallest GPU; 0 for none."""
        return min((gpu.memory_gb for gpu in self.gpus), default=0.0)

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} cores", f"{self.memory_gb:.1f} GB of memory"]
        parts += [f"{gpu.name} ({gpu.memory_gb:g} GB, compute capability {gpu.capability:g})" for gpu in self.gpus]
        return ", ".join(parts)


def detect() -> Machine:
    """Look at this machine."""
    driver, gpus = look()
    return Machine(cpus(), round(memory_bytes() / 1e9, 1), gpus, driver, _shared_memory_gb())


def this_machine(
    cache: Path, *, refresh: bool = False, look_at: Callable[[], Machine] = detect, now: Callable[[], float] = time.time
) -> Machine:
    """Return what was found within the last hour, else look again and keep it in the node cache."""
    kept = cache / FILE
    if not refresh and (known := _kept(kept, now())):
        return known
    found = look_at()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"at": now(), "for": _who(), "machine": asdict(found)}))
        new.replace(kept)
    except OSError:
        pass  # a cache that cannot be written is told of by the doctor
    return found


def _who() -> list[str]:
    """What the figures hold for: this host, and the GPUs and cores that this process is shown."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return [platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", "all"), str(affinity)]


def _kept(path: Path, now: float) -> Machine | None:
    try:
        kept = json.loads(path.read_text())
        fresh = kept["for"] == _who() and 0 <= now - kept["at"] < KEPT_S
        return _machine(kept["machine"]) if fresh else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not one that this version wrote
        return None


def _machine(kept: dict[str, Any]) -> Machine:
    gpus = tuple(Gpu(**gpu) for gpu in kept.pop("gpus"))
    driver = kept.pop("driver")
    return Machine(**kept, gpus=gpus, driver=driver and Driver(**driver))


def _shared_memory_gb() -> float | None:
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return round(found.f_blocks * found.f_frsize / 1e9, 1)
