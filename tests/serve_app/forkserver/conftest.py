"""A fork server, and workers that look for one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fork_workers import WORKER, Start

from serve_app.forkserver.client import ForkServer, fork_server
from serve_app.forkserver.hook import SCRIPT, VARIABLE


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("libraries") / SCRIPT
    path.parent.mkdir(parents=True)
    path.write_text(WORKER)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with fork_server() as running:
        assert running.wait()
        yield running


@pytest.fixture
def start(script: Path) -> Start:
    """Start a worker; returns what it tells once it has ended."""

    def started(place: str, *arguments: str, **environment: str) -> dict[str, Any]:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a child inherits
        try:
            child = subprocess.Popen(
                [sys.executable, script, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=script.parent,
                env={**os.environ, "RAY_CLIENT_MODE": "0", VARIABLE: place, **environment},
                process_group=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        Path(f"/proc/{child.pid}/oom_score_adj").write_text("700")
        out, err = child.communicate("what it is given", timeout=60)  # until the streams' last holder has ended
        assert child.returncode == 0, err
        assert err.endswith("to the other stream\n")
        return {"started": child.pid, **json.loads(out)}

    return started
