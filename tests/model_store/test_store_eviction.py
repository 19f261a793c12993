"""Room in the node cache: what goes, what stays, and that a kill or a rival at any step leaves it sound."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_helpers import content, publish_directory, write_model

from model_store import (
    CacheFull,
    CacheUnwritable,
    DirectoryStore,
    FetchOptions,
    NodeCache,
    Snapshot,
    fetch,
    fetch_and_hold,
    verify,
)
from model_store.cache.eviction import evict, make_room
from model_store.cache.usage import measure

FORK = multiprocessing.get_context("fork")
SHARED = b"shared" * 1000  # 6,000 bytes
OWN = 10_000
STEPS = ["chosen", "unmarked", "aside", "renamed", "deleted", "blob-aside", "blob"]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def three(tmp_path: Path, store: DirectoryStore, cache: NodeCache) -> dict[str, Snapshot]:
    """Models a, b and c of 16,000 bytes, of which they share 6,000; used in this order."""
    found = {}
    for index, name in enumerate("abc"):
        files = {"own.bin": name.encode() * OWN, "shared.bin": SHARED}
        publish_directory(write_model(tmp_path / name, files), store, name)
        found[name] = fetch(name, store, cache)
        os.utime(cache.root / "used" / found[name].digest, (index + 1, index + 1))
    for blob in (cache.root / "blobs").rglob("?" * 64):
        os.utime(blob, (0.5, 0.5))
    return found


def limited(cache: NodeCache, quota: int, on_step: Callable[[str], None] = lambda step: None) -> NodeCache:
    return NodeCache(cache.root, on_step, quota_bytes=quota)


def here(cache: NodeCache, three: dict[str, Snapshot]) -> str:
    return "".join(name for name, snapshot in three.items() if snapshot.digest in cache.complete())


def blobs(cache: NodeCache) -> int:
    return len(list((cache.root / "blobs").rglob("?" * 64)))


def test_usage_counts_each_byte_once(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    usage = measure(cache)
    assert usage.used_bytes == 3 * OWN + len(SHARED)
    assert [(use.model, use.bytes, use.unique_bytes) for use in sorted(usage.snapshots, key=lambda use: use.model)] == [
        (f"{name}@v1", OWN + len(SHARED), OWN) for name in "abc"
    ]
    assert (usage.orphans, usage.awaited_bytes) == ((), 0)


@pytest.mark.parametrize(("needed", "left"), [(0, "abc"), (4_000, "abc"), (4_001, "bc"), (14_001, "c"), (40_000, "")])
def test_the_longest_unused_go_until_it_fits(
    cache: NodeCache, three: dict[str, Snapshot], needed: int, left: str
) -> None:
    evicted = make_room(limited(cache, 40_000), needed)
    assert here(cache, three) == left
    assert evicted == [snapshot.digest for name, snapshot in three.items() if name not in left]
    assert blobs(cache) == len(left) + bool(left)
    assert verify(cache) == []
    assert sorted(path.name for path in (cache.root / "snapshots").iterdir()) == cache.complete()
    assert not list((cache.root / "staging").iterdir())


def test_looking_makes_a_snapshot_the_last_to_go(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    cache.lookup(three["a"].digest)
    limited(cache, 40_000).make_room(14_001)
    assert here(cache, three) == "a"


def test_pinned_and_leased_ones_stay(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    cache.pin(three["a"].digest)
    with cache.hold(three["b"].digest):
        limited(cache, 40_000).make_room(4_001)
        assert here(cache, three) == "ab"
        with pytest.raises(CacheFull) as caught:
            limited(cache, 40_000).make_room(14_001)
    assert here(cache, three) == "ab"
    assert "a@v1 (16.0 kB, pinned)" in caught.value.problem
    assert f"pid {os.getpid()}" in caught.value.problem
    assert all(word in caught.value.mend for word in ("unpin", "stop", "RAYSCRIBE_CACHE_QUOTA", "RAYSCRIBE_CACHE "))
    details = caught.value.details
    assert (details["needed"], details["used"], details["quota"]) == (14_001, 26_000, 40_000)
    assert [(one["model"], one["pinned"]) for one in details["kept"]] == [("a@v1", True), ("b@v1", False)]
    cache.unpin(three["a"].digest)
    limited(cache, 40_000).make_room(14_001)
    assert here(cache, three) == "b"


def test_nothing_goes_in_vain(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    with pytest.raises(CacheFull):
        limited(cache, 40_000).make_room(40_001)
    assert here(cache, three) == "abc"


def test_a_full_disk_makes_room_without_a_quota(
    cache: NodeCache, three: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=100_000 - measure(cache).used_bytes)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    cache.make_room(64_000)
    assert here(cache, three) == "abc"
    cache.make_room(64_001)
    assert here(cache, three) == "bc"


def test_links_to_outside_free_nothing_and_are_not_sacrificed(
    cache: NodeCache, three: dict[str, Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `fetch --link`: the store holds the bytes too."""
    for name, snapshot in three.items():
        for file in ("own.bin", "shared.bin"):
            os.link(snapshot.path / file, tmp_path / f"outside-{name}-{file}")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(CacheFull, match="needs 11 bytes, 10 are free"):
        cache.make_room(11)
    assert here(cache, three) == "abc"


def test_without_hard_links_blobs_are_known_by_the_manifests(
    store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: object) -> None:
        raise OSError(1, "Operation not permitted")

    shutil.rmtree(cache.root)
    monkeypatch.setattr(os, "link", no_links)
    for name in "abc":
        fetch(name, store, cache)
        os.utime(cache.root / "used" / three[name].digest, (ord(name), ord(name)))
    assert measure(cache).used_bytes == 3 * 2 * OWN + 4 * len(SHARED)  # each snapshot has copies of its own
    limited(cache, 84_000).make_room(1)
    assert here(cache, three) == "bc"
    assert blobs(cache) == 3
    assert measure(cache).used_bytes == 2 * 2 * OWN + 3 * len(SHARED)
    assert measure(cache).orphans == ()


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_a_sound_cache(
    step: str, store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot]
) -> None:
    def die(now: str) -> None:
        if now == f"evict:{step}":
            os.kill(os.getpid(), signal.SIGKILL)

    child = FORK.Process(target=lambda: make_room(limited(cache, 40_000, die), 4_001))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert verify(cache) == []
    assert ("a" in here(cache, three)) == (step == "chosen")
    # What it left is no obstacle to the next one, and what stays is whole.
    limited(cache, 40_000).make_room(14_001)
    assert here(cache, three) == "c"
    assert measure(cache).used_bytes == OWN + len(SHARED)
    assert content(fetch("a", store, cache).path) == {"own.bin": b"a" * OWN, "shared.bin": SHARED}
    assert verify(cache) == []


@pytest.mark.parametrize("locks", [True, False])
def test_processes_that_evict_at_once_do_not_disturb_each_other(
    cache: NodeCache, three: dict[str, Snapshot], locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:
        monkeypatch.setattr(NodeCache, "single_flight", lambda self, digest, timeout_s: nullcontext(False))
    barrier = FORK.Barrier(4)

    def run() -> None:
        barrier.wait(30)
        make_room(limited(cache, 40_000), 4_001)

    children = [FORK.Process(target=run) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert here(cache, three) == "bc" if locks else "a" not in here(cache, three)
    assert verify(cache) == []


def test_who_begins_to_use_it_in_the_last_moment_keeps_it(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    leases = []

    def hold(step: str) -> None:
        if step == "evict:unmarked" and not leases:
            leases.append(cache.hold(three["a"].digest))

    make_room(limited(cache, 40_000, hold), 4_001)
    assert here(cache, three) == "ac"
    assert cache.lookup(three["a"].digest) is not None
    leases[0].release()


def test_a_pin_in_the_last_moment_counts(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    digest = three["a"].digest
    pinning = NodeCache(cache.root, lambda step: cache.pin(digest) if step == "evict:unmarked" else None)
    assert evict(pinning, digest) is False
    assert here(cache, three) == "abc"


@pytest.mark.parametrize("locks", [True, False])
def test_a_snapshot_that_is_fetched_while_it_is_taken_away_stays(
    store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot], locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch finds the unmarked directory whole and marks it again, just before it is renamed away."""
    if not locks:
        monkeypatch.setattr("model_store.cache.eviction._not_fetched", lambda cache, digest: nullcontext(True))
    digest, leases = three["a"].digest, []

    def fetch_again(step: str) -> None:
        if step == "evict:aside":
            options = FetchOptions(lock_timeout_s=0.01)
            leases.append(fetch_and_hold("a", store, NodeCache(cache.root), options)[1])

    assert evict(NodeCache(cache.root, fetch_again), digest) is False
    assert cache.lookup(digest) is not None
    assert content(three["a"].path) == {"own.bin": b"a" * OWN, "shared.bin": SHARED}
    leases[0].release()


def test_what_is_being_fetched_is_not_evicted(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    with cache.single_flight(three["a"].digest, 5) as held:
        assert held
        assert evict(cache, three["a"].digest) is False
        assert here(cache, three) == "abc"
    assert evict(cache, three["a"].digest) is True


def test_a_blob_that_a_fetch_begins_to_need_is_put_back(
    store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot]
) -> None:
    leases = []

    def hold(step: str) -> None:
        if step == "evict:blob-aside" and not leases:
            leases.append(cache.hold("e" * 64, three["a"].manifest))

    evict(NodeCache(cache.root, hold), three["a"].digest)
    assert blobs(cache) == 4
    assert cache.blob_path(three["a"].manifest.files[0].sha256).read_bytes() == b"a" * OWN
    leases[0].release()


@pytest.mark.parametrize("step", ["locked", "staged", "renamed"])
def test_a_fetch_under_way_keeps_what_it_brought(
    step: str, tmp_path: Path, store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot]
) -> None:
    """Another process evicts all it can, at the worst moments."""
    wanted = publish_directory(write_model(tmp_path / "d", {"own.bin": b"d" * OWN, "of a": b"a" * OWN}), store, "d")

    def evict_all(now: str) -> None:
        if now == step:
            child = FORK.Process(target=lambda: sys.exit(make_room(limited(cache, 50_000), 15_000) == []))
            child.start()
            child.join(30)
            assert child.exitcode == 0

    snapshot = fetch("d", store, NodeCache(cache.root, evict_all))
    assert content(snapshot.path) == {"own.bin": b"d" * OWN, "of a": b"a" * OWN}
    assert cache.lookup(wanted.digest) is not None
    assert "a" not in here(cache, three)
    assert verify(cache) == []


def test_a_fetch_evicts_for_itself(
    tmp_path: Path, store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot]
) -> None:
    publish_directory(write_model(tmp_path / "d", {"own.bin": b"d" * OWN, "shared.bin": SHARED}), store, "d")
    assert content(fetch("d", store, limited(cache, 40_000)).path)["own.bin"] == b"d" * OWN
    assert here(cache, three) == "bc"
    assert measure(cache).used_bytes == 36_000
    publish_directory(write_model(tmp_path / "e", {"own.bin": b"e" * 40_001}), store, "e")
    with pytest.raises(CacheFull):
        fetch("e", store, limited(cache, 40_000))
    assert here(cache, three) == "bc"


def test_what_others_are_about_to_bring_counts(
    tmp_path: Path, store: DirectoryStore, cache: NodeCache, three: dict[str, Snapshot]
) -> None:
    coming = publish_directory(write_model(tmp_path / "d", {"own.bin": b"d" * OWN}), store, "d").manifest
    barrier = FORK.Barrier(2)

    def hold() -> None:
        with NodeCache(cache.root).hold(coming.digest, coming):
            barrier.wait(30)
            barrier.wait(30)

    child = FORK.Process(target=hold)
    child.start()
    barrier.wait(30)
    assert measure(cache).awaited_bytes == OWN
    with cache.hold(coming.digest, coming):
        assert measure(cache).awaited_bytes == 0  # the same bytes: this process counts them itself
    limited(cache, 50_000).make_room(4_001)
    assert here(cache, three) == "bc"
    barrier.wait(30)
    child.join(30)
    assert measure(cache).awaited_bytes == 0


def test_what_a_fetch_awaits_is_not_counted_on(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    with cache.hold("e" * 64, three["a"].manifest):
        assert measure(cache).without({snapshot.digest for snapshot in three.values()}) == OWN + len(SHARED)
        with pytest.raises(CacheFull):
            limited(cache, 40_000).make_room(24_001)
        assert here(cache, three) == "abc"
        limited(cache, 40_000).make_room(24_000)
    assert (here(cache, three), blobs(cache)) == ("", 2)


def test_leftovers_without_a_snapshot_go_by_their_age(cache: NodeCache, three: dict[str, Snapshot]) -> None:
    orphan = write_model(cache.root / "blobs/sha256/ff", {"f" * 64: b"x" * 5_000}) / ("f" * 64)
    part = write_model(cache.root / "partial" / ("e" * 64), {"data": b"x" * 3_000, "journal": b""})
    os.utime(orphan, (1.5, 1.5))
    os.utime(part / "data", (9, 9))
    assert measure(cache).used_bytes == 44_000
    limited(cache, 44_000).make_room(10_001)
    assert (here(cache, three), orphan.exists(), part.exists()) == ("bc", False, True)
    limited(cache, 44_000).make_room(42_000)
    assert (here(cache, three), part.exists(), measure(cache).used_bytes) == ("", False, 0)


def test_a_cache_of_another_user_says_so(
    cache: NodeCache, three: dict[str, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*paths: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", denied)
    with pytest.raises(CacheUnwritable, match="uid"):
        limited(cache, 40_000).make_room(4_001)
    monkeypatch.undo()
    assert here(cache, three) == "abc"
