"""Several fetches at once, other users, and what they leave lying about."""

import fcntl
import multiprocessing
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from store_helpers import FILES, PIECE, CountingStore, content, cut, leftovers, publish_directory, write_model

from model_store import FetchOptions, Manifest, NodeCache, Published, fetch, verify
from model_store.cache import locks

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def manifest(model: Path, store: CountingStore, published: Published) -> Manifest:
    return cut(model, store, published)


def start(run: Callable[[], object]) -> ForkProcess:
    """Run in another process; its exit code is 0 if the result is true."""
    child = FORK.Process(target=lambda: sys.exit(not run()))
    child.start()
    return child


def ends(children: list[ForkProcess]) -> list[int | None]:
    for child in children:
        child.join(60)
        child.kill()
        child.join()
    return [child.exitcode for child in children]


def test_eight_processes_without_working_locks_share_what_they_have(
    model: Path, store: CountingStore, published: Published, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system whose flock does nothing and does not say so."""
    manifest = cut(model, store, published, 200_000)
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)

    def run() -> bool:
        slow = NodeCache(cache.root, lambda step: time.sleep(0.05) if step == "read" else None)
        return content(fetch("demo-whisper", store, slow, FetchOptions(connections=1)).path) == FILES

    assert ends([start(run) for _ in range(8)]) == [0] * 8
    assert verify(cache) == []
    assert cache.complete() == [manifest.digest]
    assert leftovers(cache) == []
    assert store.bytes_read() == manifest.size


@pytest.mark.parametrize("works", [True, False])
def test_one_at_a_time_even_where_the_kernels_lock_keeps_nobody_out(
    cache: NodeCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, works: bool
) -> None:
    if not works:
        monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)
    with cache.single_flight("d", 1) as alone:
        assert alone
        with NodeCache(cache.root).single_flight("d", 0) as other:
            assert not other
    with cache.single_flight("d", 1) as alone:
        assert alone
    assert ("keep nobody out" in caplog.text) is not works


def test_a_dead_holder_of_a_file_that_stands_for_a_lock_is_not_waited_for_long(
    store: CountingStore, manifest: Manifest, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(locks, "STALE_S", 0.4)

    def hold_and_die() -> bool:
        with cache.single_flight(manifest.digest, 5) as alone:
            os._exit(3 if alone else 4)

    assert ends([start(hold_and_die)]) == [3]
    assert content(fetch("demo-whisper", store, cache, FetchOptions(lock_timeout_s=20)).path) == FILES
    assert leftovers(cache) == []


def test_eight_processes_with_locks_read_each_byte_once(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    def run() -> bool:
        return content(fetch("demo-whisper", store, NodeCache(cache.root)).path) == FILES

    assert ends([start(run) for _ in range(8)]) == [0] * 8
    assert store.bytes_read() == manifest.size
    assert leftovers(cache) == []


def test_waiter_shows_the_winners_progress_and_takes_over_when_it_dies(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    go = FORK.Event()
    noted = FORK.Semaphore(0)

    def pause(step: str) -> None:
        if step == "noted":
            noted.release()
        if step == "read" and noted.get_value() == 3:  # type: ignore[attr-defined]
            go.wait(30)

    winner = start(lambda: fetch("demo-whisper", store, NodeCache(cache.root, pause), FetchOptions(connections=1)))
    told: list[tuple[int, int]] = []
    shown = threading.Event()

    def show(done: int, total: int) -> None:
        told.append((done, total))
        if done >= 3 * PIECE:
            shown.set()

    results: list[object] = []
    options = FetchOptions(progress=show)
    for _ in range(3):
        assert noted.acquire(timeout=30)
    for _ in range(3):
        noted.release()
    waiter = threading.Thread(target=lambda: results.append(fetch("demo-whisper", store, cache, options)))
    waiter.start()
    assert shown.wait(30)
    assert told[-1] == (3 * PIECE, manifest.size)
    assert winner.is_alive()
    assert not results
    os.kill(winner.pid or 0, signal.SIGKILL)
    waiter.join(30)
    assert ends([winner]) == [-signal.SIGKILL]
    (snapshot,) = results
    assert content(snapshot.path) == FILES  # type: ignore[attr-defined]
    assert snapshot.fetched_bytes == manifest.size - 3 * PIECE  # type: ignore[attr-defined]
    assert told == sorted(told)
    assert told[-1] == (manifest.size, manifest.size)
    assert leftovers(cache) == []


def test_lock_files_left_lying_about_stop_nobody(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    write_model(cache.root / "locks", {f"{manifest.digest}.lock": b"12345\n"})
    began = time.monotonic()
    assert content(fetch("demo-whisper", store, cache).path) == FILES
    assert time.monotonic() - began < 10


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can reach."""
    path = Path(tempfile.mkdtemp(prefix="model-store-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_nobody(run: Callable[[], object]) -> int | None:
    """Run as another user where that is allowed, and with the strictest umask."""

    def drop() -> object:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        os.umask(0o077)
        return run()

    return ends([start(drop)])[0]


def test_other_users_read_what_one_fetched(model: Path, store: CountingStore, manifest: Manifest, public: Path) -> None:
    cache = NodeCache(public / "cache")
    before = os.umask(0o077)
    try:
        snapshot = fetch("demo-whisper", store, cache)
    finally:
        os.umask(before)
    assert as_nobody(lambda: content(snapshot.path) == FILES and verify(cache) == []) == 0
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (cache.root / "blobs").rglob("*") if path.is_file()}
    assert modes == {0o444}


def test_cache_that_cannot_be_written_gives_what_it_holds(public: Path, model: Path) -> None:
    store, cache = CountingStore(public / "store"), NodeCache(public / "cache")
    published = publish_directory(model, store)
    snapshot = fetch("demo-whisper", store, cache)
    shutil.rmtree(cache.root / "locks")
    shutil.rmtree(cache.root / "staging")
    everything = [cache.root, *cache.root.rglob("*")]
    for path in everything:
        path.chmod(path.stat().st_mode & ~0o222)
    (store.root / "reads").unlink(missing_ok=True)
    (store.root / "reads").touch(0o666)

    def run() -> bool:
        by_digest = fetch(f"demo-whisper@sha256:{published.digest}", store, NodeCache(cache.root))
        return (by_digest.path, by_digest.source) == (snapshot.path, "cache") and content(snapshot.path) == FILES

    assert as_nobody(run) == 0
    assert store.bytes_read() == 0
    assert not (cache.root / "locks").exists()
    for path in everything:
        path.chmod(0o755)


def test_another_users_part_is_begun_anew(public: Path, model: Path) -> None:
    """A part of a user with a strict umask cannot be opened: that must not stop the next one."""
    if os.getuid() != 0:
        pytest.skip("needs two users")
    store, cache = CountingStore(public / "store"), NodeCache(public / "cache")
    manifest = cut(model, store, publish_directory(model, store))
    (store.root / "reads").touch()
    (store.root / "reads").chmod(0o666)
    entry = max(manifest.files, key=lambda file: file.size)
    part = write_model(cache.root / "partial" / entry.sha256, {"data": b"x" * PIECE, "journal": b"00000000\n"})
    for path in (cache.root, cache.root / "partial", part):
        path.chmod(0o777)
    assert as_nobody(lambda: content(fetch("demo-whisper", store, NodeCache(cache.root)).path) == FILES) == 0
    assert store.bytes_read() == manifest.size
