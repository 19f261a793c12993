"""Processes for good: a pid alone is used again, and means another process in another container."""

import os
from collections.abc import Mapping
from pathlib import Path


def identity(pid: int) -> dict[str, str | int]:
    """What tells a process from all others; `started` is empty if there is no such process."""
    return {
        "pid": pid,
        "started": _started(pid),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
    }


def is_gone(owner: Mapping[str, object]) -> bool | None:
    """Whether the process of an `identity` is gone; None if it cannot be told from this machine and container."""
    try:
        pid = owner["pid"]
        if not isinstance(pid, int):
            return None
        here = identity(pid)
        if here["boot"] and (owner["boot"], owner["namespace"]) == (here["boot"], here["namespace"]):
            return bool(owner["started"] != here["started"])
    except (KeyError, TypeError):
        return None
    return None


def _started(pid: int) -> str:
    """The process's start in clock ticks since boot; empty if there is no such process."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
