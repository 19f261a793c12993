"""Who of a cluster's nodes reads a snapshot from the store, and who from which other node."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

READERS_PER_PEER = 2
"""So many nodes read from one at once: then those that have a snapshot double with every round."""
SILENT_AFTER_S = 30.0


@dataclass(frozen=True)
class Plan:
    """What a node is to do: read the store, read these peers' URLs (best first), or wait and ask again."""

    do: Literal["store", "peers", "wait"]
    peers: tuple[str, ...] = ()


@dataclass
class _Reading:
    """A node on its way to a snapshot: from which node (None: the store), and when it was last heard of."""

    source: str | None
    heard: float


@dataclass
class _Snapshot:
    holders: dict[str, str] = field(default_factory=dict)
    reading: dict[str, _Reading] = field(default_factory=dict)


class Tracker:
    """The state of all snapshots; plain memory, one call at a time.

    What it forgets by a restart costs a further read of the store, nothing else. `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, silent_after_s: float = SILENT_AFTER_S) -> None:
        self._clock, self._silent_after_s = clock, silent_after_s
        self._snapshots: dict[str, _Snapshot] = {}

    def ask(self, digest: str, node: str) -> Plan:
        """What a node that lacks a snapshot is to do; the same answer until it has it, gives up or falls silent."""
        known = self._snapshots.setdefault(digest, _Snapshot())
        known.holders.pop(node, None)
        self._forget_silent(known)
        if node not in known.reading:
            source = self._free_holder(known)
            if source is None and (known.holders or known.reading):
                return Plan("wait")
            known.reading[node] = _Reading(source, self._clock())
        return self._plan(known, known.reading[node])

    def alive(self, digest: str, node: str) -> None:
        """A node is still at it."""
        reading = self._of(digest).reading.get(node)
        if reading is not None:
            reading.heard = self._clock()

    def done(self, digest: str, node: str, url: str) -> None:
        """A node has a snapshot and serves it at a URL."""
        self._of(digest).reading.pop(node, None)
        self._of(digest).holders[node] = url

    def failed(self, digest: str, node: str) -> None:
        """A node gave up: another one may try."""
        self._of(digest).reading.pop(node, None)

    def gone(self, digest: str, url: str) -> None:
        """A peer does not answer, or has the snapshot no more."""
        known = self._of(digest)
        lost = [node for node, served in known.holders.items() if served == url]
        for node in lost:
            del known.holders[node]
        for reader in [reader for reader, reading in known.reading.items() if reading.source in lost]:
            del known.reading[reader]

    def holders(self, digest: str) -> dict[str, str]:
        """The nodes that have a snapshot, with their URLs."""
        return dict(self._of(digest).holders)

    def _of(self, digest: str) -> _Snapshot:
        return self._snapshots.setdefault(digest, _Snapshot())

    def _forget_silent(self, known: _Snapshot) -> None:
        oldest = self._clock() - self._silent_after_s
        known.reading = {node: reading for node, reading in known.reading.items() if reading.heard >= oldest}

    def _free_holder(self, known: _Snapshot) -> str | None:
        """The node with the fewest readers, unless all have enough."""
        readers = {node: self._readers(known, node) for node in known.holders}
        best = min(readers, key=lambda node: readers[node], default=None)
        return best if best is not None and readers[best] < READERS_PER_PEER else None

    def _readers(self, known: _Snapshot, node: str) -> int:
        return sum(reading.source == node for reading in known.reading.values())

    def _plan(self, known: _Snapshot, reading: _Reading) -> Plan:
        if reading.source is None:
            return Plan("store")
        others = [url for node, url in known.holders.items() if node != reading.source]
        return Plan("peers", (known.holders[reading.source], *others[:1]))
