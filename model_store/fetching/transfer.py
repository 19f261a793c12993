"""Transfers: many pieces over several connections, each hashed by the thread that got it and written in its place."""

import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from model_store.cache.partial import Part
from model_store.errors import StoreUnreachable
from model_store.fetching.patience import Patience, backoff
from model_store.fetching.pieces import PieceReader
from model_store.manifest import Manifest
from model_store.stores.base import Store

GRACE_S = 1.0
FIRST_CONNECTIONS, MOST_CONNECTIONS = 4, 16
PROBATION_S = 0.5
WORTH_IT = 1.2
"""As many connections again are opened while the last ones made the transfer faster by this factor."""


@dataclass(frozen=True)
class _Event:
    """What a thread tells the one that waits: bytes read from a store, bytes finished, or what went wrong."""

    read: int = 0
    hash_s: float = 0.0
    done: int = 0
    trouble: StoreUnreachable | None = None
    error: BaseException | None = None


class Stopped(Exception):
    """The transfer is over; whoever still has bytes drops them."""


class Gate(AbstractContextManager[None]):
    """Lets threads write until it is closed; once `close` returns, none writes any more or ever again."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside, self._closed = 0, False

    def __enter__(self) -> None:
        with self._condition:
            if self._closed:
                raise Stopped
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def close(self) -> None:
        """Refuse further writes and wait for those under way: a part may change hands after this."""
        with self._condition:
            self._closed = True
            while self._inside:
                self._condition.wait()

    @property
    def busy(self) -> bool:
        """Whether somebody is writing: a disk may be slow without a store being at fault."""
        return self._inside > 0


class Rate:
    """How fast bytes come, to tell whether more connections made it faster."""

    def __init__(self) -> None:
        self._best = 0.0
        self._settled = False
        self._bytes, self._since = 0, time.monotonic()

    def add(self, count: int) -> None:
        """So many bytes have come."""
        self._bytes += count

    def rose(self) -> bool:
        """Whether a time on probation has ended just now, and it was faster than all before; once it was not, never."""
        took = time.monotonic() - self._since
        if self._settled or took < PROBATION_S:
            return False
        rate = self._bytes / took
        self._settled = rate < WORTH_IT * self._best
        self._best = max(self._best, rate)
        self._bytes, self._since = 0, time.monotonic()
        return not self._settled


class Transfer:
    """Brings parts of one snapshot from a store; memory: a part of some 500 kB for each connection."""

    def __init__(self, manifest: Manifest, store: Store, patience: Patience) -> None:
        self.patience = patience
        self.connections = MOST_CONNECTIONS
        self.on_step: Callable[[str], None] = lambda step: None
        self.advance: Callable[[int], None] = lambda count: None
        self.fetched_bytes, self.hash_s = 0, 0.0
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self.reader = PieceReader(manifest, store, self._arrived)
        self._jobs: deque[tuple[Part, int]] = deque()
        self._stopped = threading.Event()
        self._gate = Gate()
        self._threads: list[threading.Thread] = []
        self._rate = Rate()

    def run(self, parts: Iterable[Part], *, shuffle: bool = False) -> None:
        """Finish all parts, or raise; a thread is left behind only if it hangs in a read.

        With `shuffle` each file's pieces come in an order of one's own: fetches that cannot wait for each other then
        find pieces that others have had already.
        """
        parts = list(parts)
        try:
            self._queue(parts, shuffle)
            self._widen()
            left = sum(part.entry.size for part in parts)
            while left > 0:
                left -= self._next()
                if self._rate.rose():
                    self._widen()
        finally:
            self._stop()
            for part in parts:
                part.close()

    def _widen(self) -> None:
        """Open more connections, as far as there is work for them."""
        wanted = min(len(self._threads) + FIRST_CONNECTIONS, self.connections, len(self._threads) + len(self._jobs))
        self._threads += [self._thread(number) for number in range(len(self._threads), wanted)]

    def _queue(self, parts: list[Part], shuffle: bool) -> None:
        for part in parts:
            order = list(range(len(part.pieces)))
            if shuffle:
                random.shuffle(order)
            self._jobs.extend((part, index) for index in order)
            if not order:
                part.open()
                part.finish(self.on_step)

    def _thread(self, number: int) -> threading.Thread:
        thread = threading.Thread(target=self._work, name=f"model-store-fetch-{number}", daemon=True)
        thread.start()
        return thread

    def _next(self) -> int:
        """Wait for news; return how many bytes are finished by it."""
        self.patience.check()
        try:
            event = self._events.get(timeout=max(0.0, self.patience.left_s()))
        except queue.Empty:
            if self._gate.busy:
                self.patience.progress()
            return 0
        if event.error is not None:
            raise event.error
        if event.trouble is not None:
            self.patience.trouble = event.trouble
            return 0
        self.patience.progress()
        self.fetched_bytes += event.read
        self._rate.add(event.read)
        self.hash_s += event.hash_s
        if event.done:
            self.advance(event.done)
        return event.done

    def _stop(self) -> None:
        self._stopped.set()
        self._gate.close()
        until = time.monotonic() + GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        try:
            while (job := self._take()) is not None:
                self._bring(*job)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 raised again by the thread that waits
            self._events.put(_Event(error=error))

    def _take(self) -> tuple[Part, int] | None:
        try:
            return None if self._stopped.is_set() else self._jobs.popleft()
        except IndexError:
            return None

    def _bring(self, part: Part, index: int) -> None:
        """One piece, from this disk or from a store."""
        with self._gate:
            part.open()
            recovered = part.recover(index)
        if not recovered:
            self._insist(part, index)
        self._finish(part, index)

    def _insist(self, part: Part, index: int) -> None:
        """A piece from the store, asked for again while it is unreachable; the thread that waits gives up."""
        for pause in backoff():
            try:
                return self.reader.copy(part.entry, part.pieces[index], partial(self._write, part))
            except StoreUnreachable as error:
                self._events.put(_Event(trouble=error))
                if self._stopped.wait(pause):
                    raise Stopped from None
        raise AssertionError("unreachable")

    def _write(self, part: Part, start: int, content: memoryview) -> None:
        self.on_step("read")
        with self._gate:
            part.write(start, content)

    def _finish(self, part: Part, index: int) -> None:
        """Write down that a piece is there; the last one makes the file."""
        self.on_step("written")
        with self._gate:
            last = part.note(index)
            self.on_step("noted")
            if last:
                part.finish(self.on_step)
        self._events.put(_Event(done=part.pieces[index].length))

    def _arrived(self, count: int, hash_s: float) -> None:
        self._events.put(_Event(read=count, hash_s=hash_s))
