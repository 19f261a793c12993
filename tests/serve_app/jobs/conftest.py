"""Both stores: SQLite, and Redis on a real server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from serve_app.jobs.redis_store import RedisStore
from serve_app.jobs.sqlite_store import SqliteStore
from serve_app.jobs.store import JobStore
from tests.redis_server import redis_socket as redis_socket

Opened = Callable[[], JobStore]


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
