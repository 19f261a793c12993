"""Workers as Ray starts them, but for Ray: a script of the same name that tells what it is."""

import os
import time
from collections.abc import Callable
from typing import Any

WORKER = """
import json, os, random, signal, sys
from ray import WorkerID
import numpy
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgrp(), "argv": sys.argv, "path": sys.path[0],
    "folder": os.getcwd(), "variable": os.environ.get("FOR_THE_WORKER"), "threads": os.environ.get("OMP_NUM_THREADS"),
    "blocked": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "memory": open("/proc/self/oom_score_adj").read().strip(),
    "input": sys.stdin.read(), "name": __name__, "serve": "ray.serve" in sys.modules,
    "colorsys": "colorsys" in sys.modules,
    "random": [WorkerID.from_random().hex(), random.random(), numpy.random.random()],
}))
print("to the other stream", file=sys.stderr)
"""
Start = Callable[..., dict[str, Any]]


def is_itself(worker: dict[str, Any]) -> bool:
    """Whether a worker is the process that was started, and no copy."""
    return worker["pid"] == worker["started"] and worker["parent"] == os.getpid() and not worker["serve"]


def until(reached: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between two looks at a condition
