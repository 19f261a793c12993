"""Leases: who holds a snapshot, how that is known, and when it ends."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import CountingStore

from model_store import NodeCache, Published, fetch
from model_store.cache.eviction import evict
from model_store.cache.leases import STALE_AFTER_S, Lease, dead_leases, holders, remove_dead
from model_store.fetching.holding import fetch_and_hold

DIGEST = "d" * 64
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
CHILD = """
import sys
from model_store import NodeCache
lease = NodeCache(sys.argv[1]).hold(sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
"""


def wait_for(done: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rewrite(lease: Lease, **process: object) -> None:
    """Let a lease be another process's."""
    said = json.loads(lease.path.read_text())
    said["process"] |= process
    lease.path.write_text(json.dumps(said))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_lease_names_its_process_until_it_is_released(cache: NodeCache) -> None:
    with cache.hold(DIGEST) as lease:
        (holder,) = holders(cache.root)[DIGEST]
        assert (holder.pid, holder.here, holder.path) == (os.getpid(), True, lease.path)
        assert str(os.getpid()) in str(holder)
    assert holders(cache.root) == {}
    assert not lease.path.exists()
    lease.release()


def test_two_leases_of_one_process_are_two(cache: NodeCache) -> None:
    with cache.hold(DIGEST):
        with cache.hold(DIGEST):
            assert len(holders(cache.root)[DIGEST]) == 2
        assert len(holders(cache.root)[DIGEST]) == 1


def test_a_fetch_says_which_blobs_it_awaits(cache: NodeCache, published: Published) -> None:
    with cache.hold(published.digest, published.manifest):
        (holder,) = holders(cache.root)[published.digest]
    assert holder.blobs == {entry.sha256: entry.size for entry in published.manifest.files}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_another_process_holds_until_it_ends_however_it_ends(cache: NodeCache, end: signal.Signals | None) -> None:
    command = [sys.executable, "-c", CHILD, str(cache.root), DIGEST]
    child = subprocess.Popen(command, env=ENVIRONMENT, text=True, stdin=-1, stdout=-1)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    (holder,) = holders(cache.root)[DIGEST]
    assert (holder.pid, holder.here) == (child.pid, False)
    age(holder.path, 10 * STALE_AFTER_S)  # a process that can be asked needs no heartbeat
    assert DIGEST in holders(cache.root)
    if end is None:
        child.communicate("\n")
        assert not holder.path.exists()  # at exit it took its lease with it
    else:
        child.send_signal(end)
        child.communicate()
        assert dead_leases(cache.root) == [holder.path]
        assert holders(cache.root) == {}
        remove_dead(cache.root)
    assert not holder.path.exists()
    assert holders(cache.root) == {}


def test_a_pid_that_is_used_again_is_not_the_holder(cache: NodeCache) -> None:
    with cache.hold(DIGEST) as lease:
        rewrite(lease, started="1")
        assert holders(cache.root) == {}


@pytest.mark.parametrize("elsewhere", [{"namespace": "pid:[1]"}, {"boot": "another"}])
def test_another_container_is_believed_while_its_heart_beats(cache: NodeCache, elsewhere: dict[str, str]) -> None:
    with cache.hold(DIGEST) as lease:
        rewrite(lease, pid=1, **elsewhere)
        assert [holder.pid for holder in holders(cache.root)[DIGEST]] == [1]
        age(lease.path, STALE_AFTER_S - 60)
        assert DIGEST in holders(cache.root)
        age(lease.path, STALE_AFTER_S + 60)
        assert holders(cache.root) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"process": 3}', '{"process": {}, "host": 1}'])
def test_an_unreadable_lease_counts_while_it_is_young(cache: NodeCache, text: str) -> None:
    with cache.hold(DIGEST) as lease:
        lease.path.write_text(text)
        assert DIGEST in holders(cache.root)
        age(lease.path, STALE_AFTER_S + 60)
        assert DIGEST not in holders(cache.root)


def test_the_heart_beats_and_brings_a_removed_lease_back(cache: NodeCache) -> None:
    with Lease(cache.root / "leases" / DIGEST, beat_s=0.02) as lease:
        age(lease.path, 1000)
        wait_for(lambda: time.time() - lease.path.stat().st_mtime < 500)
        lease.path.unlink()
        lease.path.parent.rmdir()
        wait_for(lease.path.exists)
        assert DIGEST in holders(cache.root)
    wait_for(lambda: all(thread.name != "model-store lease" for thread in threading.enumerate()))
    assert not lease.path.exists()


def test_a_forked_child_does_not_end_its_parents_lease(cache: NodeCache) -> None:
    with cache.hold(DIGEST) as lease:
        child = multiprocessing.get_context("fork").Process(target=lambda: (lease.release(), sys.exit(0)))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert DIGEST in holders(cache.root)


def test_a_cache_that_cannot_be_written_is_used_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache = NodeCache(tmp_path / "file" / "cache")
    with cache.hold(DIGEST) as lease:
        assert not lease.path.exists()
    assert "may be evicted while it is used" in caplog.text


def test_fetch_and_hold_fetches_again_what_is_evicted_in_between(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    evictions = []

    def hold(self: NodeCache, digest: str, *more: object) -> Lease:
        if not more and not evictions:
            evictions.append(evict(self, digest))
        return Lease(self.root / "leases" / digest)

    monkeypatch.setattr(NodeCache, "hold", hold)
    snapshot, lease = fetch_and_hold("demo-whisper", store, cache)
    assert evictions == [True]
    assert (snapshot.path / "model.bin").is_file()
    assert published.digest in holders(cache.root)
    assert evict(cache, published.digest) is False
    assert cache.lookup(published.digest) is not None
    lease.release()
    assert holders(cache.root) == {}


def test_use_is_noted_by_looking_and_holding(store: CountingStore, cache: NodeCache, published: Published) -> None:
    fetch("demo-whisper", store, cache)
    stamp = cache.root / "used" / published.digest
    for use in (lambda: cache.lookup(published.digest), lambda: cache.hold(published.digest).release()):
        os.utime(stamp, (1, 1))
        assert cache.used_at(published.digest) == 1
        use()
        assert time.time() - cache.used_at(published.digest) < 60
    stamp.unlink()
    assert cache.used_at(published.digest) == cache.mark_path(published.digest).stat().st_mtime
    assert cache.used_at(DIGEST) == 0
