"""`make demo` itself, as a newcomer runs it, but ending after the transcript."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.__main__ import PORT
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster


def test_the_demo_shows_a_conversation_and_leaves_nothing_behind(store: Path, tmp_path: Path) -> None:
    """It has a Ray of its own, beside the session's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAYSCRIBE_STORE": str(store), "RAYSCRIBE_CACHE": str(tmp_path), "RAY_worker_niceness": "0"}
    command = [sys.executable, "-m", "demo", "--once"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Ready after" in shown.stdout
    assert "real-time factor" in shown.stdout
    speakers = [line.split("│")[3].strip() for line in shown.stdout.splitlines() if line.startswith("│")]
    assert speakers[0] == "A"
    assert set(speakers) == {"A", "B"}
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", PORT)) != 0
