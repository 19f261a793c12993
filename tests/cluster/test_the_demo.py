"""`make demo` itself, as a newcomer runs it, but ending after the transcript."""

import socket
import subprocess
import sys

import pytest

from demo.__main__ import PORT
from tests.cluster.conftest import BIN, Cluster
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster


def test_the_demo_shows_a_conversation_and_leaves_nothing_behind(cluster: Cluster, service: str) -> None:
    subprocess.run([BIN / "serve", "shutdown", "-y", "-a", cluster.dashboard], check=True, capture_output=True)
    shown = subprocess.run(
        [sys.executable, "-m", "demo", "--once"], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Ready after" in shown.stdout
    assert "real-time factor" in shown.stdout
    speakers = [line.split("│")[3].strip() for line in shown.stdout.splitlines() if line.startswith("│")]
    assert speakers[0] == "A"
    assert set(speakers) == {"A", "B"}
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", PORT)) != 0
