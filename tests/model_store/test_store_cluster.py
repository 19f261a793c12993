"""A cluster's fetches: who reads the store, what peers serve, and what happens when they are gone."""

import http.client
from pathlib import Path

import pytest
from store_helpers import CountingStore, blob_of, content

from model_store import NodeCache, NotPublished, Published, fetch, open_store
from model_store.cluster import PeerFirst, Plan, Tracker
from model_store.cluster.peers import PeerServer

STORE, WAIT = Plan("store"), Plan("wait")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracker(clock: Clock) -> Tracker:
    return Tracker(clock, silent_after_s=30)


def test_one_node_reads_the_store_the_others_wait(tracker: Tracker) -> None:
    assert [tracker.ask("d", node) for node in "abcb"] == [STORE, WAIT, WAIT, WAIT]
    assert tracker.ask("d", "a") == STORE
    assert tracker.ask("other", "b") == STORE


def test_those_that_have_it_serve_two_each_and_double(tracker: Tracker) -> None:
    nodes = [f"n{i}" for i in range(32)]
    rounds, lacking, from_store = 0, list(nodes), 0
    while lacking:
        rounds += 1
        plans = {node: tracker.ask("d", node) for node in lacking}
        reading = {node: plan for node, plan in plans.items() if plan.do != "wait"}
        from_store += sum(plan.do == "store" for plan in reading.values())
        busy = [plan.peers[0] for plan in reading.values() if plan.peers]
        assert all(busy.count(url) <= 2 for url in busy)
        for node in reading:
            tracker.done("d", node, f"http://{node}")
            lacking.remove(node)
    assert (from_store, rounds) == (1, 5)
    assert set(tracker.holders("d")) == set(nodes)


def test_a_silent_reader_is_replaced_a_heard_one_is_not(tracker: Tracker, clock: Clock) -> None:
    assert tracker.ask("d", "a") == STORE
    clock.now = 29
    tracker.alive("d", "a")
    clock.now = 58
    assert tracker.ask("d", "b") == WAIT
    clock.now = 60
    assert tracker.ask("d", "b") == STORE


def test_after_a_failure_another_node_tries(tracker: Tracker) -> None:
    tracker.ask("d", "a")
    tracker.failed("d", "a")
    assert tracker.ask("d", "b") == STORE


def test_a_peer_that_is_gone_is_not_named_again(tracker: Tracker) -> None:
    tracker.ask("d", "a")
    tracker.done("d", "a", "http://a")
    assert tracker.ask("d", "b") == Plan("peers", ("http://a",))
    tracker.gone("d", "http://a")
    assert tracker.ask("d", "b") == STORE


def test_a_node_that_lost_its_snapshot_is_no_holder(tracker: Tracker) -> None:
    tracker.ask("d", "a")
    tracker.done("d", "a", "http://a")
    assert tracker.ask("d", "a") == STORE
    assert tracker.holders("d") == {}


def test_a_second_peer_is_named_for_the_first_ones_failures(tracker: Tracker) -> None:
    for node in "ab":
        tracker.done("d", node, f"http://{node}")
    plan = tracker.ask("d", "c")
    assert plan.do == "peers"
    assert sorted(plan.peers) == ["http://a", "http://b"]


@pytest.fixture
def peer(store: CountingStore, published: Published, tmp_path: Path):  # type: ignore[no-untyped-def]
    cache = NodeCache(tmp_path / "peer")
    fetch("demo-whisper", store, cache)
    (store.root / "reads").unlink()
    server = PeerServer(cache)
    yield cache, f"http://127.0.0.1:{server.port}"
    server.close()


def test_blobs_come_from_the_peer_and_names_from_the_store(
    peer: tuple[NodeCache, str], store: CountingStore, cache: NodeCache, model: Path
) -> None:
    snapshot = fetch("demo-whisper", PeerFirst([open_store(peer[1])], store), cache)
    assert content(snapshot.path) == content(model)
    assert store.reads() == []


def test_what_a_peer_has_damaged_or_lacks_comes_from_the_store(
    peer: tuple[NodeCache, str], store: CountingStore, cache: NodeCache, model: Path, published: Published
) -> None:
    wrong, missing = (
        next(entry.sha256 for entry in published.manifest.files if entry.path == path)
        for path in ("model.bin", "config.json")
    )
    blob = peer[0].blob_path(wrong)
    blob.chmod(0o644)
    blob.write_bytes(bytes(blob.stat().st_size))
    peer[0].blob_path(missing).unlink()
    snapshot = fetch("demo-whisper", PeerFirst([open_store(peer[1])], store), cache)
    assert content(snapshot.path) == content(model)
    assert set(store.reads()) == {wrong, missing}


def test_a_peer_that_died_costs_a_read_of_the_store_and_no_failure(
    store: CountingStore, cache: NodeCache, model: Path, published: Published, tmp_path: Path
) -> None:
    server = PeerServer(NodeCache(tmp_path / "dead"))
    url = f"http://127.0.0.1:{server.port}"
    server.close()
    snapshot = fetch("demo-whisper", PeerFirst([open_store(url)], store), cache)
    assert content(snapshot.path) == content(model)


@pytest.mark.parametrize(
    "path",
    [
        "/refs/demo-whisper/latest",
        "/blobs/sha256/aa/../../../refs/demo-whisper/latest",
        "/blobs/sha256/aa/%2e%2e%2f%2e%2e%2frefs",
        "/manifests/..%2f..%2fetc%2fpasswd.json",
        "/",
        "/staging/",
    ],
)
def test_nothing_but_finished_blobs_and_manifests_is_served(peer: tuple[NodeCache, str], path: str) -> None:
    connection = http.client.HTTPConnection(peer[1].removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_ranges_of_a_peers_blob_are_exact(
    peer: tuple[NodeCache, str], published: Published, store: CountingStore
) -> None:
    entry = next(entry for entry in published.manifest.files if entry.path == "model.bin")
    whole = blob_of(store, published, "model.bin").read_bytes()
    assert open_store(peer[1]).read_blob(entry.sha256, 1000, 5000) == whole[1000:6000]


def test_an_unknown_name_of_a_store_that_cannot_be_listed_is_not_published(
    peer: tuple[NodeCache, str], cache: NodeCache
) -> None:
    with pytest.raises(NotPublished, match="nobody@latest is not in the store at http"):
        fetch("nobody", open_store(peer[1]), cache)
