"""A job outlives the whole cluster: all its processes are killed in mid-work, another one takes it up and ends it."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml

from benchmarks.common import wav
from benchmarks.scoring import plain, word_error_rate
from demo.service import Service
from serve_app.models.audio import decode
from tests.cluster.conftest import STARTS_WITHIN_S, free_port
from tests.cluster.local.test_jobs import begun, done, until
from tests.conftest import ROOT
from tests.redis_server import redis_socket as redis_socket

pytestmark = [pytest.mark.cluster, pytest.mark.slow]  # two clusters have to start
TIMES = 4
"""Eight minutes of speech: long enough to be killed in it."""


def smallest_config(folder: Path, port: int, broker: str | None) -> dict[str, Any]:
    """`local.yaml` with one preset of one stage."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    gateway, fast = config["applications"][:2]
    gateway["args"] = {"presets": ["fast"], "jobs": {"folder": str(folder), "lease_s": 3, "broker": broker}}
    del fast["args"]["alignment"]
    config["http_options"]["port"] = port
    return {**config, "applications": [gateway, fast]}


@contextmanager
def running(config: Path, port: int, store: Path) -> Iterator[None]:
    """A service on a cluster of its own, which nothing is left of."""
    temporary = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets live in it
    cache = config.with_name("cache")
    environment = {"RAY_ADDRESS": "local", "RAY_TMPDIR": temporary}
    environment |= {"RAYSCRIBE_STORE": str(store), "RAYSCRIBE_CACHE": str(cache)}
    service = Service(config, config.with_suffix(".log"), environment)
    try:
        for _ in service.until_ready(f"http://127.0.0.1:{port}/ready", STARTS_WITHIN_S):
            pass
        yield
    finally:
        kill_all(service)
        shutil.rmtree(temporary, ignore_errors=True)


def kill_all(service: Service) -> None:
    """Kill every process that the service started, and itself, and wait until they are gone."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(service.pid)
        processes = [root, *root.children(recursive=True)]
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=60)
    service.stop()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_job_survives_the_end_of_the_whole_cluster(
    request: pytest.FixtureRequest, kind: str, store: Path, tmp_path: Path, sample: Any
) -> None:
    broker = f"unix://{request.getfixturevalue('redis_socket')}" if kind == "redis" else None
    said = sample("two_minutes")
    once = decode(said.path.read_bytes())
    long, port = wav(np.resize(once, TIMES * len(once))), free_port()
    url, config = f"http://127.0.0.1:{port}", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(smallest_config(tmp_path / "jobs", port, broker)))
    with running(config, port, store):
        job = httpx.post(f"{url}/v1/jobs", files={"file": long}, timeout=60).json()
        seen = until(url, job, begun)
        assert not done(seen[-1]), "it was over before anything could be killed"
    with running(config, port, store):
        after = httpx.get(f"{url}/v1/jobs/{job['id']}", timeout=60).json()
        assert after["created_at"] == job["created_at"]
        assert after["progress"] >= seen[-1]["progress"]
        ended = until(url, after, done)[-1]
        text = httpx.get(f"{url}{ended['result_url']}").json()["text"]
    assert ended["attempts"] == 2
    assert word_error_rate(plain(" ".join(said.words * TIMES)), plain(text)) <= 0.1
