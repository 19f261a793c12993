"""Machines to look at that nobody here has."""

from serve_app.hardware.machine import Machine
from serve_app.hardware.nvidia import Driver, Gpu

DRIVER = Driver("570.86.15", "12.8", mps=False)


def machine(cpus: float, memory_gb: float, *gpus: float, capability: float = 8.9) -> Machine:
    """Return a machine with GPUs of so many GB each."""
    found = tuple(Gpu("a GPU", size, size, capability) for size in gpus)
    return Machine(cpus, memory_gb, found, DRIVER if gpus else None, 8.0)
