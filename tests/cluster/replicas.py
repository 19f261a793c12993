"""The processes of a service's replicas, found by their names, and what they use of the processor."""

import time
from pathlib import Path


def replica_pid(app: str, deployment: str) -> int:
    """Return the process of an application's only replica of a deployment."""
    from ray.util.state import list_actors

    name = f"SERVE_REPLICA::{app}#{deployment}#"
    (actor,) = [a for a in list_actors(filters=[("state", "=", "ALIVE")]) if str(a.name).startswith(name)]
    assert actor.pid
    return int(actor.pid)


def until_busy(pid: int, ticks: int = 10) -> None:
    """Return once the process has used 0.1 s more of processor time: it is at work."""
    begin, deadline = _ticks(pid), time.monotonic() + 60
    while _ticks(pid) < begin + ticks:
        assert time.monotonic() < deadline, "the replica never got to work"
        time.sleep(0.01)


def until_idle(pid: int, within_s: float) -> None:
    """Return once the process has used less than 0.1 s in a whole second."""
    deadline = time.monotonic() + within_s
    while True:
        begin = _ticks(pid)
        time.sleep(1)
        if _ticks(pid) - begin < 10:
            return
        assert time.monotonic() < deadline, "the replica is still at work"


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
