"""The cluster's side of it on Ray: one tracker, a peer server on each node, and `warm`.

Ray is imported by whoever calls; it must be initialised.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_store.cache.node_cache import NodeCache
from model_store.cluster.peers import PeerFirst, PeerServer
from model_store.cluster.tracker import Plan, Tracker
from model_store.errors import FetchTimeout, ModelStoreError
from model_store.fetching.fetch import FetchOptions, Snapshot, fetch, resolve
from model_store.fetching.patience import Patience
from model_store.progress import Progress
from model_store.references import Reference
from model_store.stores import Store, open_store
from model_store.stores.object_opening import open_web

if TYPE_CHECKING:
    from ray.actor import ActorHandle

NAMESPACE = "rayscribe"
PORT = "RAYSCRIBE_PEER_PORT"
"""Port of the peer servers, one per node; any free one if it is not set."""
ASK_AGAIN_S, HEARTBEAT_S = 0.25, 5.0
ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True)
class Warmed:
    """One snapshot on one node: where it came from, bytes fetched, seconds; or why it is not there."""

    node: str
    name: str
    source: str = ""
    fetched_bytes: int = 0
    seconds: float = 0.0
    error: str = ""


def fetch_in_cluster(name: str, store: Store, cache: NodeCache, options: FetchOptions | None = None) -> Snapshot:
    """`fetch`, but of all the cluster's nodes that lack a snapshot only one reads it from the store."""
    options = options or FetchOptions()
    reference = Reference.parse(name)
    patience = Patience(f"Fetching {reference}", options.timeout_s, options.stall_s)
    digest, _ = resolve(reference, store, cache, patience)
    member = _Member(digest)
    if cache.lookup(digest) is not None:
        snapshot = fetch(name, store, cache, options)
    else:
        snapshot = _fetch_planned(name, store, cache, options, member)
    member.done(cache)
    return snapshot


def _fetch_planned(name: str, store: Store, cache: NodeCache, options: FetchOptions, member: "_Member") -> Snapshot:
    peers = member.peers(options.lock_timeout_s)
    try:
        return fetch(name, PeerFirst(peers, store), cache, replace(options, progress=member.telling(options.progress)))
    except BaseException:
        member.failed()
        raise


class _Member:
    """This node before the tracker, about one snapshot."""

    def __init__(self, digest: str) -> None:
        import ray

        self._ray = ray
        self._digest = digest
        self._node = ray.get_runtime_context().get_node_id()
        self._tracker = _tracker()

    def peers(self, patience_s: float) -> list[Store]:
        """The peers to read from, none for the store alone, once it is this node's turn.

        Peers that do not answer are told to the tracker.
        """
        deadline = time.monotonic() + patience_s
        while True:
            plan: Plan = self._call(self._tracker.ask.remote(self._digest, self._node))
            opened = {url: open_web(url) for url in plan.peers}
            silent = [url for url, peer in opened.items() if not self._answers(peer)]
            for url in silent:
                self._call(self._tracker.gone.remote(self._digest, url))
            if plan.do != "wait" and not silent:
                return list(opened.values())
            if time.monotonic() > deadline:
                raise FetchTimeout(
                    f"No other node brought sha256:{self._digest} within {patience_s:.0f} s.",
                    "See the logs of the node that fetches it, or fetch without peers.",
                )
            if not silent:
                time.sleep(ASK_AGAIN_S)  # between two questions: the tracker knows no callbacks

    def _answers(self, peer: Store) -> bool:
        try:
            peer.read_manifest(self._digest)
        except ModelStoreError:
            return False
        return True

    def telling(self, progress: Progress) -> Progress:
        """Progress that also tells the tracker, now and then, that this node is still at it."""
        told = time.monotonic()

        def both(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told > HEARTBEAT_S:
                told = time.monotonic()
                self._tracker.alive.remote(self._digest, self._node)
            progress(done, total)

        return both

    def done(self, cache: NodeCache) -> None:
        """Serve the snapshot to the others."""
        url = self._call(_peer_server(self._node, cache).url.remote())
        self._call(self._tracker.done.remote(self._digest, self._node, url))

    def failed(self) -> None:
        """Let another node try."""
        self._tracker.failed.remote(self._digest, self._node)

    def _call(self, answer: Any) -> Any:
        return self._ray.get(answer, timeout=ANSWER_WITHIN_S)


def _tracker() -> "ActorHandle[Any]":
    """The cluster's one tracker, made by who asks first."""
    import ray

    options = {"name": "store-tracker", "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    return ray.remote(Tracker).options(num_cpus=0, max_restarts=-1, **options).remote()


class _Peer:
    """The actor that serves one node's cache."""

    def __init__(self, root: str, host: str) -> None:
        self._server = PeerServer(NodeCache(root), host, int(os.environ.get(PORT, "0")))
        self._host = host

    def url(self) -> str:
        """Where the other nodes find it."""
        return f"http://{self._host}:{self._server.port}"


def _peer_server(node: str, cache: NodeCache) -> "ActorHandle[Any]":
    """This node's peer server, made by who asks first."""
    import ray

    options = {"name": f"store-peer-{node}", "namespace": NAMESPACE, "get_if_exists": True, "lifetime": "detached"}
    here = ray.util.get_node_ip_address()
    return ray.remote(_Peer).options(num_cpus=0, scheduling_strategy=_on(node), **options).remote(str(cache.root), here)


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def warm(names: Sequence[str], url: str, cache: Path | None = None, *, peers: bool = True) -> list[Warmed]:
    """Bring snapshots into the node cache of every node that is alive, all at once.

    `cache`: its directory on every node; None: what RAYSCRIBE_CACHE says there.
    """
    import ray

    task = ray.remote(_warm_here)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    asked = [
        task.options(num_cpus=0, scheduling_strategy=_on(node)).remote(name, url, cache, peers)
        for name in names
        for node in nodes
    ]
    warmed: list[Warmed] = ray.get(asked)
    return warmed


def _warm_here(name: str, url: str, cache: Path | None, peers: bool) -> Warmed:
    import ray

    node, began = ray.get_runtime_context().get_node_id(), time.perf_counter()
    place = NodeCache(cache or os.environ.get("RAYSCRIBE_CACHE", ".rayscribe/cache"))
    try:
        snapshot = (fetch_in_cluster if peers else fetch)(name, open_store(url), place)
    except ModelStoreError as error:
        return Warmed(node, name, error=str(error))
    return Warmed(node, name, snapshot.source, snapshot.fetched_bytes, time.perf_counter() - began)
