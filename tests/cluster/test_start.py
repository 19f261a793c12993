"""`python -m serve_app.start` on a real cluster: ready with what the environment says, and an end without a loss."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import STARTS_WITHIN_S, Cluster, free_port
from tests.conftest import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_what_was_asked_is_answered_before_it_ends(cluster: Cluster, sample: Any, tmp_path: Path) -> None:
    port = free_port()
    log = (tmp_path / "log").open("w+")
    child = subprocess.Popen(
        [sys.executable, "-m", "serve_app.start", "configs/local.yaml"],
        cwd=ROOT,
        env={**os.environ, "RAYSCRIBE_PORT": str(port)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        until_ready(f"http://127.0.0.1:{port}/ready", child)
        form = {"model": "high", "stream": "true", "language": "en"}
        url = f"http://127.0.0.1:{port}/v1/audio/transcriptions"
        with (
            sample("two_minutes").path.open("rb") as audio,
            httpx.stream("POST", url, data=form, files={"file": audio}, timeout=200) as answer,
        ):
            lines = (line for line in answer.iter_lines() if line.startswith("data: {"))
            first = json.loads(next(lines).removeprefix("data: "))
            child.send_signal(signal.SIGTERM)
            *_, last = (json.loads(line.removeprefix("data: ")) for line in lines)
        assert first["type"] == "transcript.text.delta"
        assert last["type"] == "transcript.text.done"
        assert len(last["text"].split()) > 100
        assert child.wait(120) == 0
    finally:
        child.kill()
    log.seek(0)
    assert "stopping: what was asked is answered first" in log.read()


def until_ready(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.3)  # between two looks at a condition
