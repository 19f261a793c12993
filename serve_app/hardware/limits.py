"""The cores and the memory that this process may use: the machine's, or less where a control group says so."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
NO_LIMIT = 2**60
"""Control groups of version 1 have no word for it, only a number as large as this."""


def cpus(cgroups: Path = CGROUPS, own: Path = OWN) -> float:
    """Return the cores, whole ones or (under a quota) parts."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(allowed), *(_quota(folder) for folder in _folders(cgroups, own, "cpu"))])


def memory_bytes(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Return the bytes of memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(_memory(folder) for folder in _folders(cgroups, own, "memory"))])


def _folders(cgroups: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield this process's group and all above it, of both versions; each of them may set a limit."""
    for line in _read(own).splitlines():
        number, controllers, place = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        root = cgroups if number == "0" else cgroups / controllers
        root = root if root.is_dir() else cgroups / controller
        # A container may see its own group as the root, and its path by the host's name.
        below = [*Path(place.strip("/")).parents, Path(place.strip("/"))]
        yield from {root / each for each in below}
    yield cgroups


def _quota(group: Path) -> float:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else float("inf")


def _memory(group: Path) -> int:
    text = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
    return int(text) if text.isdecimal() else NO_LIMIT


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
