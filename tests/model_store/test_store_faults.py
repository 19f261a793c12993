"""Failures in the middle of a fetch: wrong pieces, stores that hang, fail and come back."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_helpers import FILES, PIECE, CountingStore, FaultyStore, blob_of, content, cut, leftovers

from model_store import (
    CorruptBlob,
    DirectoryStore,
    FetchOptions,
    FetchTimeout,
    Manifest,
    MissingBlob,
    NodeCache,
    Published,
    StoreUnreachable,
    fetch,
    open_store,
    verify,
)
from model_store.cache.partial import SHELF, journalled
from model_store.fetching.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, Patience, backoff
from model_store.fetching.transfer import Gate, Stopped
from model_store.stores.chain import StoreChain

ONE = FetchOptions(connections=1)


@pytest.fixture
def faulty(store: CountingStore) -> FaultyStore:
    return FaultyStore(store.root)


@pytest.fixture
def manifest(model: Path, store: CountingStore, published: Published) -> Manifest:
    return cut(model, store, published)


@pytest.fixture
def second(tmp_path: Path, store: CountingStore, manifest: Manifest) -> CountingStore:
    """Another store that holds the same."""
    other = CountingStore(tmp_path / "second")
    for entry in manifest.files:
        other.put_blob(entry.sha256, entry.size, [store.read_blob(entry.sha256, 0, entry.size)])
    other.write_manifest(manifest)
    other.write_ref(manifest.name, "latest", manifest.digest)
    (store.root / "reads").unlink()
    (other.root / "reads").unlink(missing_ok=True)
    return other


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("model-store"):
            thread.join(5)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("model-store")]


def at_piece(number: int, act: Callable[[bytes], bytes], times: int = 1) -> Callable[[int, bytes], bytes]:
    """A fault that acts on the first reads of one piece."""
    counter = itertools.count()

    def fault(start: int, content: bytes) -> bytes:
        return act(content) if start == number * PIECE and next(counter) < times else content

    return fault


def flip(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def shorten(content: bytes) -> bytes:
    raise CorruptBlob("The store gives fewer bytes.", got=str(len(content)))


@pytest.mark.parametrize("spoil", [flip, shorten])
def test_wrong_piece_is_asked_for_once_more(
    spoil: Callable[[bytes], bytes], faulty: FaultyStore, manifest: Manifest, cache: NodeCache
) -> None:
    faulty.fault = at_piece(2, spoil)
    snapshot = fetch("demo-whisper", faulty, cache, ONE)
    assert content(snapshot.path) == FILES
    assert faulty.bytes_read() == manifest.size + PIECE


@pytest.mark.parametrize("spoil", [flip, shorten])
def test_piece_that_stays_wrong_is_refused_and_the_right_ones_are_kept(
    spoil: Callable[[bytes], bytes], faulty: FaultyStore, manifest: Manifest, cache: NodeCache
) -> None:
    faulty.fault = at_piece(2, spoil, times=2)
    with pytest.raises(CorruptBlob, match=r"model\.bin of demo-whisper@v1.*model-store publish demo-whisper") as caught:
        fetch("demo-whisper", faulty, cache, ONE)
    assert caught.value.details["path"] == "model.bin"
    assert cache.complete() == []
    (part,) = (cache.root / SHELF).iterdir()
    assert journalled(part) == {0, 1}
    before = faulty.bytes_read()
    assert content(fetch("demo-whisper", faulty, cache).path) == FILES
    assert faulty.bytes_read() - before == manifest.size - 2 * PIECE
    assert leftovers(cache) == []


def _flip_a_bit(blob: Path) -> None:
    with blob.open("r+b") as file:
        file.seek(3 * PIECE + 5)
        file.write(b"!!")


def _truncate(blob: Path) -> None:
    with blob.open("r+b") as file:
        file.truncate(2 * PIECE + 10)


@pytest.mark.parametrize(("spoil", "pieces"), [(_flip_a_bit, 1), (_truncate, 3), (Path.unlink, 5)])
def test_what_one_store_has_wrong_the_next_one_gives(
    spoil: Callable[[Path], None],
    pieces: int,
    store: CountingStore,
    second: CountingStore,
    published: Published,
    manifest: Manifest,
    cache: NodeCache,
) -> None:
    spoil(blob_of(store, published, "model.bin"))
    snapshot = fetch("demo-whisper", StoreChain([store, second]), cache, ONE)
    assert content(snapshot.path) == FILES
    assert verify(cache) == []
    sizes = [piece.length for entry in manifest.files for piece in entry.checked_pieces()]
    assert len(sizes) == 6
    wrong = {1: PIECE, 3: sum(sizes[-3:]), 5: sum(sizes[-5:])}[pieces]
    assert second.bytes_read() == wrong
    if pieces == 5:
        assert store.bytes_read() == manifest.size - wrong + PIECE  # a store that lacks a blob is asked for it once


def test_store_that_goes_away_is_replaced_by_the_next(
    faulty: FaultyStore, second: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    def gone(start: int, content: bytes) -> bytes:
        raise StoreUnreachable("The volume is gone.")

    faulty.fault = gone
    snapshot = fetch("demo-whisper", StoreChain([faulty, second]), cache, ONE)
    assert content(snapshot.path) == FILES
    assert len(faulty.reads()) == 1  # not asked before each piece


def test_all_stores_wrong_is_told(
    store: CountingStore, second: CountingStore, published: Published, cache: NodeCache
) -> None:
    for each in (store, second):
        _flip_a_bit(blob_of(each, published, "model.bin"))
    with pytest.raises(CorruptBlob, match=r"model\.bin"):
        fetch("demo-whisper", StoreChain([store, second]), cache)
    for each in (store, second):
        blob_of(each, published, "model.bin").unlink()
    with pytest.raises(MissingBlob, match=r"model\.bin"):
        fetch("demo-whisper", StoreChain([store, second]), cache)


def test_store_that_comes_back_is_waited_for(faulty: FaultyStore, manifest: Manifest, cache: NodeCache) -> None:
    away_until, tries = time.monotonic() + 2.0, itertools.count()

    def away(start: int, content: bytes) -> bytes:
        if start and time.monotonic() < away_until:
            next(tries)
            raise StoreUnreachable("503: slow down.")
        return content

    faulty.fault = away
    snapshot = fetch("demo-whisper", faulty, cache)
    assert content(snapshot.path) == FILES
    assert time.monotonic() >= away_until
    # Longer and longer pauses: not a hail of requests.
    assert 4 <= next(tries) <= 4 * 8


def test_store_that_stays_away_is_given_up(faulty: FaultyStore, manifest: Manifest, cache: NodeCache) -> None:
    def away(start: int, content: bytes) -> bytes:
        if start >= 2 * PIECE:
            raise StoreUnreachable("503: slow down.", "Start it.", url="x")
        return content

    faulty.fault = away
    with pytest.raises(StoreUnreachable, match=r"0\.6 s without progress.*503: slow down") as caught:
        fetch("demo-whisper", faulty, cache, FetchOptions(connections=2, stall_s=0.6))
    assert caught.value.details == {"url": "x"}
    with pytest.raises(FetchTimeout, match=r"after 0\.5 s.*503: slow down"):
        fetch("demo-whisper", faulty, cache, FetchOptions(timeout_s=0.5, stall_s=60))
    (part,) = (cache.root / SHELF).iterdir()
    assert journalled(part) == {0, 1}


@pytest.mark.parametrize("options", [{"stall_s": 0.4}, {"timeout_s": 0.4}])
def test_read_that_hangs_is_left_behind_and_never_writes_again(
    options: dict[str, float], faulty: FaultyStore, manifest: Manifest, cache: NodeCache
) -> None:
    awake = threading.Event()

    def hang(start: int, content: bytes) -> bytes:
        if start == 2 * PIECE:
            awake.wait(30)
            return bytes(len(content))
        return content

    faulty.fault = hang
    began = time.monotonic()
    with pytest.raises(FetchTimeout, match=r"0\.4 s"):
        fetch("demo-whisper", faulty, cache, FetchOptions(connections=3, **options))  # type: ignore[arg-type]
    assert time.monotonic() - began < 10
    (part,) = (cache.root / SHELF).iterdir()
    held = (part / "data").read_bytes()
    hung = [thread for thread in threading.enumerate() if thread.name.startswith("model-store-fetch")]
    assert len(hung) == 1
    awake.set()
    hung[0].join(10)
    assert (part / "data").read_bytes() == held
    faulty.fault = at_piece(0, flip, times=0)
    assert content(fetch("demo-whisper", faulty, cache).path) == FILES


def test_slow_store_is_not_given_up(faulty: FaultyStore, manifest: Manifest, cache: NodeCache) -> None:
    def slow(start: int, content: bytes) -> bytes:
        time.sleep(0.25)
        return content

    faulty.fault = slow
    began = time.monotonic()
    assert content(fetch("demo-whisper", faulty, cache, FetchOptions(connections=1, stall_s=1.0)).path) == FILES
    assert time.monotonic() - began > 1.0


def test_slow_disk_is_not_taken_for_a_silent_store(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    noted = itertools.count()
    slow = NodeCache(cache.root, lambda step: time.sleep(1.0) if step == "noted" and next(noted) == 2 else None)
    options = FetchOptions(connections=1, stall_s=0.4)
    assert content(fetch("demo-whisper", store, slow, options).path) == FILES


class SilentStore(DirectoryStore):
    """A store that never answers."""

    def read_ref(self, name: str, tag: str) -> str | None:
        time.sleep(30)
        return None


def test_store_that_never_answers_a_name(store: CountingStore, manifest: Manifest, cache: NodeCache) -> None:
    silent, options = SilentStore(store.root), FetchOptions(stall_s=0.3)
    with pytest.raises(FetchTimeout, match="Fetching demo-whisper@latest"):
        fetch("demo-whisper", silent, cache, options)
    snapshot = fetch("demo-whisper", store, cache)
    assert fetch("demo-whisper", silent, cache, options).path == snapshot.path  # by the last answer


def test_manifest_is_asked_for_again_once_the_store_has_answered(
    store: CountingStore, manifest: Manifest, cache: NodeCache
) -> None:
    class Hiccup(CountingStore):
        tries = itertools.count()

        def read_manifest(self, digest: str) -> Manifest:
            if next(self.tries) < 2:
                raise StoreUnreachable("503")
            return super().read_manifest(digest)

    assert content(fetch("demo-whisper", Hiccup(store.root), cache).path) == FILES
    began = time.monotonic()
    with pytest.raises(StoreUnreachable):
        fetch(f"demo-whisper@sha256:{'0' * 64}", open_store(cache.root / "nowhere"), cache)
    assert time.monotonic() - began < 5  # a store that never answered is not waited for


def test_pauses_grow_and_differ() -> None:
    pauses = list(itertools.islice(backoff(), 12))
    assert all(FIRST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses)
    assert pauses[-1] >= LONGEST_PAUSE_S / 2
    assert pauses[6] > pauses[0]
    assert pauses != list(itertools.islice(backoff(), 12))


def test_patience_counts_from_the_last_progress_or_to_one_deadline() -> None:
    stalling, limited = Patience("x", None, 0.2), Patience("x", 0.2, 60)
    time.sleep(0.12)
    for patience in (stalling, limited):
        patience.progress()
    time.sleep(0.12)
    stalling.check()
    with pytest.raises(FetchTimeout):
        limited.check()


def test_gate_waits_for_writes_and_refuses_later_ones() -> None:
    gate, inside, written = Gate(), threading.Event(), []

    def write() -> None:
        with gate:
            inside.set()
            time.sleep(0.1)
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(5)
    assert gate.busy
    gate.close()
    assert written == [1]
    with pytest.raises(Stopped), gate:
        written.append(2)
    assert written == [1]
    thread.join()


def test_reads_under_way_are_bounded_by_the_connections(
    faulty: FaultyStore, manifest: Manifest, cache: NodeCache
) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def count(start: int, content: bytes) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return content

    faulty.fault = count
    fetch("demo-whisper", faulty, cache, FetchOptions(connections=3))
    assert most == 3
