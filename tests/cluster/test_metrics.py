"""The metrics of the dashboard are there, at the port that the environment names, on a Ray that `start` has started."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.conftest import STARTS_WITHIN_S, free_port
from tests.cluster.test_jobs_restart import smallest_config
from tests.conftest import ROOT
from tests.test_compose import metrics_of_the_dashboard

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NEEDS_A_GPU = {"ray_node_gram_used", "ray_node_gram_available"}


def test_all_metrics_of_the_dashboard_can_be_read(store: Path, tmp_path: Path, sample: Any) -> None:
    port, metrics = free_port(), free_port()
    config, temporary = tmp_path / "config.yaml", tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets live in it
    config.write_text(yaml.safe_dump(smallest_config(tmp_path / "jobs", port, None)))
    ray = {"RAY_ADDRESS": "local", "RAY_TMPDIR": temporary, "RAY_USAGE_STATS_ENABLED": "0"}
    ours = {"STORE": str(store), "CACHE": str(tmp_path / "cache"), "METRICS_PORT": str(metrics)}
    environment = {**os.environ, **ray, **{f"RAYSCRIBE_{name}": value for name, value in ours.items()}}
    child = subprocess.Popen([sys.executable, "-m", "serve_app.start", config], cwd=ROOT, env=environment)
    try:
        _read_until_all_are_seen(f"http://127.0.0.1:{metrics}/metrics", f"http://127.0.0.1:{port}", sample, child)
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 0
    finally:
        child.kill()
        shutil.rmtree(temporary, ignore_errors=True)


def _read_until_all_are_seen(metrics: str, service: str, sample: Any, child: subprocess.Popen[bytes]) -> None:
    """Read again and again from the start on, as Prometheus does: some are exported for twenty seconds only."""
    missing, deadline, asked = metrics_of_the_dashboard() - NEEDS_A_GPU, time.monotonic() + STARTS_WITHIN_S, False
    while missing:
        with suppress(httpx.TransportError):
            missing -= {*re.findall(r"^ray_\w+", httpx.get(metrics, timeout=5).text, re.MULTILINE)}
            if not asked and httpx.get(f"{service}/ready", timeout=5).is_success:
                asked = True
                for content in (sample("two_minutes").path.read_bytes(), b"no audio"):
                    url = f"{service}/v1/audio/transcriptions"
                    httpx.post(url, data={"model": "fast"}, files={"file": content}, timeout=200)
        assert child.poll() is None
        assert time.monotonic() < deadline, missing
        time.sleep(1)  # between two looks at a condition
