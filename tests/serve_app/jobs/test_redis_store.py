"""What is Redis's own: a broker that is not there, and nodes that do not share a folder."""

from pathlib import Path

import pytest
import redis
from job_helpers import job

from serve_app.errors import JobsUnavailable
from serve_app.jobs.redis_store import RedisStore


def test_a_broker_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    store = RedisStore("redis://user:secret@127.0.0.1:1/0", tmp_path)
    with pytest.raises(JobsUnavailable, match=r"redis://127\.0\.0\.1:1/0 does not answer") as caught:
        store.submit(job())
    assert "secret" not in str(caught.value)


def test_nodes_that_do_not_share_the_folder_are_told(redis_socket: Path, tmp_path: Path) -> None:
    url = f"unix://{redis_socket}"
    redis.Redis.from_url(url).flushall()
    one, other = RedisStore(url, tmp_path / "one"), RedisStore(url, tmp_path / "other")
    same = RedisStore(url, tmp_path / "one")
    one.submit(job())
    assert len(same.page(1)) == 1
    with pytest.raises(JobsUnavailable, match=r"a place that\s+all nodes share"):
        other.page(1)


def test_a_folder_that_cannot_be_written_is_told(redis_socket: Path) -> None:
    with pytest.raises(JobsUnavailable, match="cannot be kept in /dev/null/jobs"):
        RedisStore(f"unix://{redis_socket}", Path("/dev/null/jobs")).page(1)
