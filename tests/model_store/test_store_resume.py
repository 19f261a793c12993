"""Going on: killed at every step, cut off, left by others, too old."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import FILES, PIECE, CountingStore, FaultyStore, content, cut, leftovers

from model_store import FetchOptions, FetchTimeout, FileEntry, Manifest, NodeCache, Published, StoreUnreachable, fetch
from model_store import verify as find_problems
from model_store.cache.partial import SHELF, Part, bytes_here, journalled
from model_store.staging import staging_directory, sweep

FORK = multiprocessing.get_context("fork")
DAY_S = 24 * 3600.0


@pytest.fixture
def manifest(model: Path, store: CountingStore, published: Published) -> Manifest:
    return cut(model, store, published)


def entry_of(manifest: Manifest, path: str = "model.bin") -> FileEntry:
    return next(entry for entry in manifest.files if entry.path == path)


def fetch_until(store: CountingStore, root: Path, connections: int, stop: Callable[[int, str], bool]) -> int | None:
    """Fetch in another process that is killed at the first step that `stop(number, name)` likes; its exit code."""

    def run() -> None:
        numbers = itertools.count()
        kill = lambda step: os.kill(os.getpid(), signal.SIGKILL) if stop(next(numbers), step) else None  # noqa: E731
        fetch("demo-whisper", store, NodeCache(root, kill), FetchOptions(connections=connections))

    child = FORK.Process(target=run)
    child.start()
    child.join(30)
    return child.exitcode


@pytest.mark.parametrize("connections", [1, 3])
def test_killed_at_any_step_leaves_a_sound_cache_and_costs_little(
    connections: int, store: CountingStore, manifest: Manifest, tmp_path: Path
) -> None:
    steps: list[str] = []
    fetch("demo-whisper", store, NodeCache(tmp_path / "all", steps.append), FetchOptions(connections=connections))
    assert {"locked", "read", "written", "noted", "synced", "blob:model.bin", "staged", "renamed", "marked"} <= set(
        steps
    )
    assert steps.count("noted") == sum(len(entry.checked_pieces()) for entry in manifest.files)
    for number in range(len(steps)):
        (store.root / "reads").unlink(missing_ok=True)
        cache = NodeCache(tmp_path / f"cache-{number}")
        code = fetch_until(store, cache.root, connections, lambda now, step, number=number: now == number)  # type: ignore[misc]
        assert code == -signal.SIGKILL
        assert find_problems(cache) == []
        snapshot = fetch("demo-whisper", store, cache, FetchOptions(connections=connections))
        assert content(snapshot.path) == FILES
        assert find_problems(cache) == []
        assert leftovers(cache) == []
        assert store.bytes_read() <= manifest.size + connections * PIECE, steps[number]


def test_what_comes_to_an_end_is_kept_and_gone_on_with(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    """Not killed, but cut off: by a time limit, Ctrl-C, or a store that goes away for good."""
    faulty, ends = FaultyStore(store.root), [FetchTimeout("", ""), KeyboardInterrupt(), StoreUnreachable("gone")]
    for end in ends:
        numbers = itertools.count()

        def stop(done: int, total: int, numbers: "itertools.count[int]" = numbers, end: BaseException = end) -> None:
            if next(numbers) == 2:
                raise end

        with pytest.raises(type(end)):
            fetch("demo-whisper", faulty, cache, FetchOptions(connections=1, progress=stop))
        assert not list(cache.root.glob("staging/*"))
    blob = entry_of(manifest)
    kept = journalled(cache.root / SHELF / blob.sha256)
    assert kept
    before = faulty.bytes_read()
    snapshot = fetch("demo-whisper", faulty, cache)
    assert snapshot.fetched_bytes == faulty.bytes_read() - before
    assert snapshot.fetched_bytes == manifest.size - sum(blob.checked_pieces()[index].length for index in kept)
    assert content(snapshot.path) == FILES
    assert leftovers(cache) == []


def _cut_off(store: CountingStore, cache: NodeCache) -> Path:
    """A part on the shelf with three pieces."""
    noted = itertools.count(1)
    code = fetch_until(store, cache.root, 1, lambda now, step: step == "noted" and next(noted) == 3)
    assert code == -signal.SIGKILL
    sweep(cache.root / "staging")
    (part,) = (cache.root / SHELF).iterdir()
    assert len(journalled(part)) == 3
    return part


def test_journal_is_a_hint_and_the_hash_decides(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    part = _cut_off(store, cache)
    with (part / "data").open("r+b") as file:
        file.seek(PIECE + 7)
        file.write(b"wrong")
    with (part / "journal").open("ab") as file:
        file.write(b"00000004\n00000999\nrubbish\n0000")
    before = store.bytes_read()
    snapshot = fetch("demo-whisper", store, cache)
    assert content(snapshot.path) == FILES
    assert store.bytes_read() - before == manifest.size - 2 * PIECE


@pytest.mark.parametrize("spoil", ["data", "journal"])
def test_part_that_lacks_a_file_is_begun_anew(
    spoil: str, store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    (_cut_off(store, cache) / spoil).unlink()
    before = store.bytes_read()
    assert content(fetch("demo-whisper", store, cache).path) == FILES
    assert store.bytes_read() - before == manifest.size
    assert leftovers(cache) == []


def test_link_in_place_of_a_part_is_not_followed(
    store: CountingStore, manifest: Manifest, cache: NodeCache, tmp_path: Path
) -> None:
    part, victim = _cut_off(store, cache), tmp_path / "victim"
    victim.write_bytes(b"mine")
    (part / "data").unlink()
    (part / "data").symlink_to(victim)
    assert content(fetch("demo-whisper", store, cache).path) == FILES
    assert victim.read_bytes() == b"mine"


def test_live_writers_part_is_not_taken_but_its_pieces_are_used(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    """As after a container's restart: whether the writer lives cannot be told from here."""
    part = _cut_off(store, cache)
    owned = cache.root / "staging" / "other" / "parts" / part.name
    owned.parent.mkdir(parents=True)
    part.rename(owned)
    (owned.parents[1] / "owner.json").write_text('{"pid": 1, "started": "1", "boot": "other", "namespace": "x"}')
    held = {path.name: path.read_bytes() for path in owned.iterdir()}
    before = store.bytes_read()
    assert content(fetch("demo-whisper", store, cache).path) == FILES
    assert store.bytes_read() - before == manifest.size - 3 * PIECE
    assert {path.name: path.read_bytes() for path in owned.iterdir()} == held


def test_part_is_taken_by_one_of_two(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    shelved = _cut_off(store, cache)
    entry, shelf, target = entry_of(manifest), shelved.parent, cache.blob_path(shelved.name)
    with staging_directory(cache.root / "staging") as mine, staging_directory(cache.root / "staging") as other:
        parts = [Part(entry, mine, shelf, target), Part(entry, other, shelf, target)]
        for part in parts:
            part.open()
        assert [len(journalled(part.path)) for part in parts] == [3, 0]
        assert not shelved.exists()
        assert [part.recover(0) for part in parts] == [True, True]  # the second one copies
        assert [part.recover(3) for part in parts] == [False, False]
        for part in parts:
            part.close()


def test_furthest_part_stays_on_the_shelf(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    shelved = _cut_off(store, cache)
    for pieces, expected in ((1, 3), (4, 4)):
        dead = cache.root / "staging" / "dead" / "parts" / shelved.name
        dead.mkdir(parents=True)
        (dead / "data").write_bytes(b"")
        (dead / "journal").write_bytes(b"".join(b"%08d\n" % index for index in range(pieces)))
        (dead.parents[1] / "owner.json").write_text(_dead_owner())
        assert [path.name for path in sweep(cache.root / "staging")] == ["dead"]
        assert len(journalled(shelved)) == expected
    assert [path.name for path in cache.root.glob("partial/*")] == [shelved.name]
    assert not list(cache.root.glob("staging/*"))


def _dead_owner() -> str:
    import json

    from model_store.processes import identity

    return json.dumps({**identity(os.getpid()), "started": "1"})


def _stamp(path: Path, age_s: float) -> None:
    for found in (*path.rglob("*"), path):
        os.utime(found, (time.time() - age_s,) * 2)


def test_parts_are_kept_for_a_day(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    part = _cut_off(store, cache)
    _stamp(part, DAY_S - 600)
    sweep(cache.root / "staging")
    assert part.is_dir()
    _stamp(part, DAY_S + 600)
    sweep(cache.root / "staging")
    assert leftovers(cache) == []


def test_dead_writers_old_part_is_not_kept(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    assert fetch_until(store, cache.root, 1, lambda now, step: now > 8 and step == "noted") == -signal.SIGKILL
    (stage,) = cache.root.glob("staging/*")
    _stamp(stage, DAY_S + 600)
    sweep(cache.root / "staging")
    assert leftovers(cache) == []


def test_clock_that_was_set_back_makes_nothing_immortal_nor_too_old(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    part = _cut_off(store, cache)
    foreign = cache.root / "staging" / "foreign"
    foreign.mkdir()
    for path in (part, foreign):
        _stamp(path, -30 * DAY_S)
    sweep(cache.root / "staging")
    assert part.is_dir()
    assert foreign.is_dir()
    for path in (part, foreign):
        newest = max(found.stat().st_mtime for found in (path, *path.rglob("*")))
        assert abs(newest - time.time()) < 60  # a day later both go
        _stamp(path, DAY_S + 600)
    sweep(cache.root / "staging")
    assert leftovers(cache) == []


def test_machines_clock_ahead_of_the_file_servers_removes_nothing(
    store: CountingStore, manifest: Manifest, cache: NodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, now = _cut_off(store, cache), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3 * DAY_S)
    sweep(cache.root / "staging")
    assert part.is_dir()


def test_full_disk_keeps_no_part(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    noted = itertools.count(1)

    def full(step: str) -> None:
        if step == "noted" and next(noted) == 3:
            raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="is full"):
        fetch("demo-whisper", store, NodeCache(cache.root, full))
    assert not list(cache.root.glob("staging/*"))
    assert not list(cache.root.glob("partial/*"))


def test_bytes_here_counts_what_the_journals_say(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    entry, staging = entry_of(manifest), cache.root / "staging"
    assert bytes_here(entry, cache.blob_path(entry.sha256), staging) == 0
    _cut_off(store, cache)
    assert bytes_here(entry, cache.blob_path(entry.sha256), staging) == 3 * PIECE
    fetch("demo-whisper", store, cache)
    assert bytes_here(entry, cache.blob_path(entry.sha256), staging) == entry.size
