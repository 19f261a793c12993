"""Fetching: warm, cold, damaged, interrupted, crowded."""

import hashlib
import multiprocessing
import os
import pickle
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
from store_helpers import FILES, CountingStore, blob_of, content, publish_directory, write_model

from model_store import (
    CacheError,
    CacheFull,
    CacheUnwritable,
    CorruptBlob,
    FetchOptions,
    FetchTimeout,
    MissingBlob,
    MissingManifest,
    NodeCache,
    NotPublished,
    Published,
    StoreUnreachable,
    UnsafePath,
    fetch,
    open_store,
    verify,
)

FORK = multiprocessing.get_context("fork")


def fetch_in_child(store: CountingStore, cache: NodeCache, step: str, act: Callable[[], object]) -> ForkProcess:
    """Fetch in another process, which does `act` at each `step`; its exit code is 0 if it got the right files."""

    def run() -> None:
        root = NodeCache(cache.root, lambda now: act() if now == step else None)
        sys.exit(content(fetch("demo-whisper", store, root).path) != FILES)

    child = FORK.Process(target=run)
    child.start()
    return child


def test_cold_fetch_gives_the_files_readable_by_all(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    before = os.umask(0o077)
    try:
        snapshot = fetch("demo-whisper@latest", store, cache)
    finally:
        os.umask(before)
    assert content(snapshot.path) == FILES
    assert snapshot.path == cache.root / "snapshots" / published.digest
    assert (snapshot.source, snapshot.digest, snapshot.manifest) == ("store", published.digest, published.manifest)
    assert snapshot.fetched_bytes == published.manifest.size
    for path in (snapshot.path, *snapshot.path.rglob("*")):
        assert not path.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o444)
    assert not list((cache.root / "staging").iterdir())
    model = snapshot.path / "model.bin"
    assert model.stat().st_nlink == 2  # the blob and its name in the snapshot


def test_warm_fetch_reads_no_blob_and_takes_under_a_few_ms(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    cold = fetch("demo-whisper", store, cache)
    reads = store.reads()
    took = []
    for _ in range(20):
        started = time.perf_counter()
        warm = fetch("demo-whisper", store, cache)
        took.append(time.perf_counter() - started)
    assert (warm.source, warm.path, warm.fetched_bytes, warm.timings.fetch_s) == ("cache", cold.path, 0, 0.0)
    assert store.reads() == reads
    assert min(took) < 0.005


def test_tag_and_digest_name_the_same(store: CountingStore, cache: NodeCache, published: Published) -> None:
    by_tag = fetch("demo-whisper@v1", store, cache)
    by_digest = fetch(f"demo-whisper@sha256:{published.digest}", open_store(cache.root / "no-store"), cache)
    assert by_tag.path == by_digest.path


def test_snapshots_share_equal_files(model: Path, store: CountingStore, cache: NodeCache, published: Published) -> None:
    first = fetch("demo-whisper@v1", store, cache)
    (model / "config.json").write_bytes(b"{}")
    publish_directory(model, store, revision="v2")
    second = fetch("demo-whisper@v2", store, cache)
    assert second.fetched_bytes == 2
    assert (second.path / "model.bin").samefile(first.path / "model.bin")
    assert content(first.path) == FILES


def test_last_answer_bridges_an_absent_store(store: CountingStore, cache: NodeCache, published: Published) -> None:
    absent = open_store(cache.root / "not-mounted")
    with pytest.raises(StoreUnreachable, match="not-mounted"):
        fetch("demo-whisper", absent, cache)
    fetch("demo-whisper", store, cache)
    assert fetch("demo-whisper", absent, cache).digest == published.digest


def test_failed_fetch_keeps_the_last_good_answer(
    model: Path, store: CountingStore, cache: NodeCache, published: Published
) -> None:
    fetch("demo-whisper", store, cache)
    (model / "config.json").write_bytes(b"{}")
    blob_of(store, publish_directory(model, store), "config.json").unlink()
    with pytest.raises(MissingBlob):
        fetch("demo-whisper", store, cache)
    assert fetch("demo-whisper", open_store(cache.root / "away"), cache).digest == published.digest


def test_paths_are_absolute_wherever_one_stands(
    store: CountingStore, published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here, cache = open_store("store"), NodeCache("cache")
    monkeypatch.chdir("/")
    assert fetch("demo-whisper", here, cache).path == tmp_path / "cache/snapshots" / published.digest


def test_snapshots_survive_pickling(store: CountingStore, cache: NodeCache, published: Published) -> None:
    snapshot = fetch("demo-whisper", store, cache)
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot


def test_unknown_names_and_tags_are_helped(store: CountingStore, cache: NodeCache, published: Published) -> None:
    with pytest.raises(NotPublished, match=r"Did you mean demo-whisper\? .*model-store publish demo-wisper") as caught:
        fetch("demo-wisper", store, cache)
    assert caught.value.details["published"] == ["demo-whisper"]
    with pytest.raises(NotPublished, match="demo-whisper has: latest, v1"):
        fetch("demo-whisper@v9", store, cache)


def test_ref_to_a_missing_manifest(store: CountingStore, cache: NodeCache, published: Published) -> None:
    (store.root / "manifests" / f"{published.digest}.json").unlink()
    with pytest.raises(MissingManifest, match=r"demo-whisper@latest.*model-store publish demo-whisper"):
        fetch("demo-whisper", store, cache)
    assert [problem.path for problem in verify(store)] == ["manifest"]


def test_manifest_with_a_way_out_writes_nothing(store: CountingStore, cache: NodeCache, published: Published) -> None:
    raw = published.manifest.canonical().replace(b"config.json", b"../../x.jsn")
    digest = hashlib.sha256(raw).hexdigest()
    (store.root / "manifests" / f"{digest}.json").write_bytes(raw)
    with pytest.raises(UnsafePath, match=r"\.\./\.\./x\.jsn"):
        fetch(f"demo-whisper@sha256:{digest}", store, cache)
    assert not cache.root.exists()


def _flip(blob: Path) -> None:
    data = bytearray(blob.read_bytes())
    data[1234] ^= 1
    blob.write_bytes(data)


def _truncate(blob: Path) -> None:
    os.truncate(blob, 1000)


def _lengthen(blob: Path) -> None:
    with blob.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("spoil", [_flip, _truncate])
def test_damage_in_the_store_is_refused(
    spoil: Callable[[Path], None], store: CountingStore, cache: NodeCache, published: Published
) -> None:
    spoil(blob_of(store, published, "model.bin"))
    with pytest.raises(CorruptBlob, match=r"model\.bin of demo-whisper@v1.*model-store publish demo-whisper") as caught:
        fetch("demo-whisper", store, cache)
    assert caught.value.details["path"] == "model.bin"
    assert caught.value.details["got"] != caught.value.details["expected"]
    assert cache.complete() == []
    assert not list((cache.root / "staging").iterdir())


def test_missing_blob_is_named(store: CountingStore, cache: NodeCache, published: Published) -> None:
    blob_of(store, published, "model.bin").unlink()
    with pytest.raises(MissingBlob, match=r"model\.bin of demo-whisper"):
        fetch("demo-whisper", store, cache)


@pytest.mark.parametrize("spoil", [_truncate, _lengthen, Path.unlink])
def test_wrong_size_in_the_cache_is_mended_by_the_next_fetch(
    spoil: Callable[[Path], None], store: CountingStore, cache: NodeCache, published: Published
) -> None:
    model = fetch("demo-whisper", store, cache).path / "model.bin"
    model.chmod(0o644)
    spoil(model)
    again = fetch("demo-whisper", store, cache)
    assert again.source == "store"
    assert content(again.path) == FILES


def test_flipped_bit_in_the_cache_is_found_and_mended_by_deep(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    snapshot = fetch("demo-whisper", store, cache)
    model = snapshot.path / "model.bin"
    model.chmod(0o644)
    _flip(model)
    assert verify(snapshot, deep=False) == []
    assert [(p.path, p.expected) for p in verify(snapshot)] == [("model.bin", published.manifest.files[1].sha256)]
    assert [p.path for p in verify(cache)] == ["model.bin"]
    again = fetch("demo-whisper", store, cache, FetchOptions(deep=True))
    assert content(again.path) == FILES
    assert verify(cache) == []


def test_foreign_files_where_the_snapshot_belongs_are_replaced(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    write_model(cache.snapshot_path(published.digest), {"model.bin": b"half"})
    assert content(fetch("demo-whisper", store, cache).path) == FILES


def test_mending_leaves_open_files_readable(store: CountingStore, cache: NodeCache, published: Published) -> None:
    path = fetch("demo-whisper", store, cache).path
    with (path / "model.bin").open("rb") as in_use:
        (path / "config.json").unlink()
        fetch("demo-whisper", store, cache)
        assert in_use.read() == FILES["model.bin"]


@pytest.mark.parametrize("step", ["locked", "read", "blob:config.json", "blob:model.bin", "staged", "renamed"])
def test_killed_fetch_is_never_believed_and_is_taken_over(
    step: str, store: CountingStore, cache: NodeCache, published: Published
) -> None:
    child = fetch_in_child(store, cache, step, lambda: os.kill(os.getpid(), signal.SIGKILL))
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert cache.lookup(published.digest) is None
    snapshot = fetch("demo-whisper", store, cache, FetchOptions(lock_timeout_s=5))
    assert content(snapshot.path) == FILES
    assert verify(snapshot) == []
    assert not list((cache.root / "staging").iterdir())
    # What was finished before the kill is not read again.
    finished = {"blob:config.json": 1, "blob:model.bin": 1, "staged": 3, "renamed": 3}.get(step, 0)
    assert len(store.reads()) <= 2 * len(FILES) - finished


def test_eight_processes_read_each_blob_once(store: CountingStore, cache: NodeCache, published: Published) -> None:
    children = [fetch_in_child(store, cache, "read", lambda: time.sleep(0.05)) for _ in range(8)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 8
    assert sorted(store.reads()) == sorted(file.sha256 for file in published.manifest.files if file.size)


def test_lock_held_past_its_deadline_is_gone_around(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    with cache.single_flight(published.digest, 5) as held:
        assert held
        snapshot = fetch("demo-whisper", store, NodeCache(cache.root), FetchOptions(lock_timeout_s=0.05))
    assert content(snapshot.path) == FILES


def test_eight_processes_without_working_locks_all_succeed(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system whose flock does nothing."""
    monkeypatch.setattr(NodeCache, "single_flight", lambda self, digest, timeout_s, waiting=None: nullcontext(False))
    children = [fetch_in_child(store, cache, "read", lambda: time.sleep(0.02)) for _ in range(8)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 8
    assert verify(cache) == []
    assert cache.complete() == [published.digest]
    assert not list((cache.root / "staging").iterdir())


def test_waiter_takes_what_the_winner_left(store: CountingStore, cache: NodeCache, published: Published) -> None:
    steps: list[str] = []

    def winner(step: str) -> None:
        steps.append(step)
        if step == "locked":
            fetch("demo-whisper", store, NodeCache(cache.root), FetchOptions(lock_timeout_s=0.01))

    waiter = fetch("demo-whisper", store, NodeCache(cache.root, winner))
    assert (waiter.source, waiter.fetched_bytes, steps) == ("cache", 0, ["locked"])
    assert content(waiter.path) == FILES


def test_finished_meanwhile_by_another_is_kept(store: CountingStore, cache: NodeCache, published: Published) -> None:
    """Two fetches that do not see each other: the later one meets the other's finished snapshot."""
    steps: list[str] = []

    def meanwhile(step: str) -> None:
        steps.append(step)
        if step == "staged" and steps.count("staged") == 1:
            fetch("demo-whisper", store, NodeCache(cache.root), FetchOptions(lock_timeout_s=0.01))

    snapshot = fetch("demo-whisper", store, NodeCache(cache.root, meanwhile))
    assert content(snapshot.path) == FILES
    assert not list((cache.root / "staging").iterdir())


def test_full_disk_cleans_up_and_tells_how_much_is_missing(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    def full(step: str) -> None:
        if step == "read":
            raise OSError(28, "No space left on device")

    with pytest.raises(CacheFull, match="RAYSCRIBE_CACHE") as caught:
        fetch("demo-whisper", store, NodeCache(cache.root, full))
    assert caught.value.details["needed"] > 0
    assert not list((cache.root / "staging").iterdir())
    assert content(fetch("demo-whisper", store, cache).path) == FILES


def test_what_cannot_fit_is_refused_before_a_byte_is_read(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    with pytest.raises(CacheFull, match=f"needs {published.manifest.size} bytes, 10 are free"):
        fetch("demo-whisper", store, cache)
    assert store.reads() == []


def test_unwritable_cache_says_so(store: CountingStore, tmp_path: Path, published: Published) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheUnwritable, match="uid"):
        fetch("demo-whisper", store, NodeCache(tmp_path / "file" / "cache"))


def test_time_limit(store: CountingStore, cache: NodeCache, published: Published) -> None:
    slow = NodeCache(cache.root, lambda step: time.sleep(0.6) if step == "locked" else None)
    with pytest.raises(FetchTimeout, match=r"ran out of time after 0\.5 s"):
        fetch("demo-whisper", store, slow, FetchOptions(timeout_s=0.5))
    assert not list((cache.root / "staging").iterdir())


def test_link_takes_the_stores_files_and_still_checks_them(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    origin = blob_of(store, published, "config.json")
    _flip_first(origin)
    with pytest.raises(CorruptBlob):
        fetch("demo-whisper", store, cache, FetchOptions(link=True))
    _flip_first(origin)
    snapshot = fetch("demo-whisper", store, cache, FetchOptions(link=True))
    assert (snapshot.path / "model.bin").samefile(blob_of(store, published, "model.bin"))
    assert snapshot.fetched_bytes == 0


def _flip_first(blob: Path) -> None:
    data = blob.read_bytes()
    blob.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_progress_ends_at_the_size(store: CountingStore, cache: NodeCache, published: Published) -> None:
    told: list[tuple[int, int]] = []
    fetch("demo-whisper", store, cache, FetchOptions(progress=lambda done, total: told.append((done, total))))
    assert told[-1] == (published.manifest.size, published.manifest.size)
    assert told == sorted(told)


def test_read_only_cache_serves_what_it_has(store: CountingStore, cache: NodeCache, published: Published) -> None:
    snapshot = fetch("demo-whisper", store, cache)
    shutil.rmtree(cache.root / "locks")
    shutil.rmtree(cache.root / "staging")
    assert fetch("demo-whisper@v1", store, cache).path == snapshot.path
    assert not (cache.root / "locks").exists()


def test_old_debris_is_swept_and_live_work_is_not(store: CountingStore, cache: NodeCache, published: Published) -> None:
    foreign = write_model(cache.root / "staging" / "foreign", {"owner.json": b"{}", "part": b"x"})
    old = write_model(cache.root / "staging" / "old", {"part": b"x"})
    for path in (old / "part", old):
        os.utime(path, (1, 1))
    fetch("demo-whisper", store, cache)
    assert foreign.is_dir()
    assert not old.exists()


def vanishing(cache: NodeCache, published: Published, times: int) -> NodeCache:
    """The cache, from which an eviction takes the biggest blob as soon as it is there, so many times."""
    blob = cache.blob_path(max(published.manifest.files, key=lambda entry: entry.size).sha256)
    left = [times]

    def take(step: str) -> None:
        if step == "blob:model.bin" and left[0]:
            left[0] -= 1
            blob.unlink()

    return NodeCache(cache.root, take)


def test_blob_that_vanishes_before_it_is_linked_is_brought_again(
    store: CountingStore, cache: NodeCache, published: Published, model: Path
) -> None:
    told: list[int] = []
    options = FetchOptions(progress=lambda done, total: told.append(done))
    snapshot = fetch("demo-whisper", store, vanishing(cache, published, 1), options)
    assert content(snapshot.path) == content(model)
    assert verify(cache) == []
    assert max(told) == published.manifest.size


def test_blob_that_always_vanishes_is_an_error_and_leaves_no_snapshot(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    with pytest.raises(CacheError, match=r"vanish.*RAYSCRIBE_CACHE_QUOTA"):
        fetch("demo-whisper", store, vanishing(cache, published, 99))
    assert cache.complete() == []
    assert not list((cache.root / "staging").iterdir())
