"""`make demo` itself, as a newcomer runs it, to its end by Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.__main__ import PORT
from tests.cluster.conftest import STARTS_WITHIN_S
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster


def test_the_demo_shows_a_conversation_and_ends_with_ctrl_c(store: Path, tmp_path: Path) -> None:
    """It has a Ray of its own, beside the session's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAYSCRIBE_STORE": str(store), "RAYSCRIBE_CACHE": str(tmp_path), "RAY_worker_niceness": "0"}
    with (tmp_path / "shown").open("w+") as shown:
        tour = subprocess.Popen([sys.executable, "-m", "demo"], cwd=ROOT, env=environment, stdout=shown, stderr=shown)
        try:
            text = _until_shown(tour, Path(shown.name))
            tour.send_signal(signal.SIGINT)
            assert tour.wait(150) == 0
        finally:
            tour.terminate()
            tour.wait(150)
    assert "Ready after" in text
    assert "real-time factor" in text
    speakers = [line.split("│")[3].strip() for line in text.splitlines() if line.startswith("│")]
    assert speakers[0] == "A"
    assert set(speakers) == {"A", "B"}
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", PORT)) != 0


def _until_shown(tour: subprocess.Popen[bytes], shown: Path) -> str:
    """Return what the demo shows, once it says how to end it."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while "until Ctrl-C" not in (text := shown.read_text()):
        assert tour.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.3)  # between two looks at a condition
    return text
