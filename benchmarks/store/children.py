"""Child processes: each measurement in a fresh one that says when it is ready, so that imports do not count."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.store.bench import Sample
from benchmarks.store.models import Model

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
ONLINE = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}  # to the loopback server, whatever the caller's says


class Child:
    """A process that carries out one order of `benchmarks.store.ways`, at once or when told."""

    def __init__(self, way: str, environment: dict[str, str] | None = None, **order: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.store.ways", json.dumps({"way": way, **order})]
        self.process = subprocess.Popen(command, env=_environment(environment), text=True, stdin=-1, stdout=-1)
        assert self.process.stdin
        assert self.process.stdout
        self._input, self._output = self.process.stdin, self.process.stdout
        self._first = ""

    def ready(self) -> None:
        """Wait until it has imported what it needs, or has failed to."""
        self._first = self._output.readline()

    def go(self) -> None:
        """Let it begin."""
        if self._first == "ready\n":
            self._input.write("go\n")
            self._input.flush()

    def result(self) -> Sample:
        """Wait for its figures, or for what went wrong."""
        rest = self._output.read()
        code = self.process.wait()
        lines = [line for line in (self._first + rest).splitlines() if line.startswith("{")]
        return dict(json.loads(lines[-1])) if lines else {"error": f"exit code {code}"}

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()
        self._input.close()
        self._output.close()


def measured(way: str, environment: dict[str, str] | None = None, **order: Any) -> Sample:
    """One run in a fresh process."""
    child = Child(way, environment, **order)
    child.ready()
    child.go()
    return child.result()


def at_once(count: int, way: str, **order: Any) -> tuple[float, list[Sample]]:
    """The same order in several processes that begin together; seconds until the last is done."""
    children = [Child(way, **order) for _ in range(count)]
    for child in children:
        child.ready()
    began = time.perf_counter()
    for child in children:
        child.go()
    results = [child.result() for child in children]
    return time.perf_counter() - began, results


@dataclass(frozen=True)
class Served:
    """The address of a running `benchmarks.store.server`."""

    url: str

    @property
    def store(self) -> str:
        """The address to open as a store."""
        return f"{self.url}/store"

    def stats(self) -> dict[str, int]:
        """What it has sent so far."""
        return self._get("/stats")

    def stall(self, more: int) -> None:
        """Hold all answers once `more` bytes are sent; -1: let them go on."""
        self._get(f"/stall/{more}")

    def wait(self, **wanted: int) -> None:
        """Wait until a count is what is wanted, or above it; raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_S
        while any(self.stats()[name] < value if value else self.stats()[name] for name, value in wanted.items()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server's counts never reached {wanted}: {self.stats()}")
            time.sleep(0.01)  # between two looks at a condition

    def _get(self, path: str) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return dict(json.load(answer))


@contextmanager
def serving(model: Model) -> Iterator[Served]:
    """A hub and a web store that serve a model."""
    with _running("server", json.dumps({"store": str(model.root), "files": model.order()})) as url:
        yield Served(url)


@contextmanager
def capped(url: str, rate: float) -> Iterator[str]:
    """The same server behind a proxy that gives each connection `rate` bytes per second."""
    parts = urlsplit(url)
    with _running("proxy", str(parts.hostname), str(parts.port or 80), str(rate)) as address:
        yield address


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[str]:
    """A module of this package as a process; yields the first line it prints."""
    command = [sys.executable, "-m", f"benchmarks.store.{module}", *arguments]
    process = subprocess.Popen(command, env=_environment(None), text=True, stdout=-1)
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **QUIET, **ONLINE, **(more or {})}
