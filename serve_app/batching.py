"""Batches across requests: whatever waits while the model is busy is run together next, and requests take turns."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from serve_app import heap
from serve_app.courtesy import Courtesy
from serve_app.priorities import BACKGROUND, threads

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[[Hashable, Sequence[Item]], Awaitable[Sequence[Result]]]


@dataclass(frozen=True, slots=True)
class Timed(Generic[Result]):
    """A result, how long its item waited for a batch and how long the batch took (seconds), and whether it was full."""

    result: Result
    queue_s: float
    model_s: float
    full: bool


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    owner: Hashable
    done: asyncio.Future[Timed[Result]]
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Item, Result]):
    """Awaits a lane's `run(key, items)` for up to `size` waiting items of equal key; owners of items take turns.

    `size` may be changed at any time, as may `beside`, the most items of a batch that starts beside another (none: as
    many as of any); they hold for the next batch.

    There is no timer: an idle model starts at once, a busy one finds the next batch already gathered. An item whose
    caller went away is dropped before it reaches the model.

    With more than one lane, a batch of owners of whom nothing is being run starts beside the others: a short request
    need not wait for the end of a long one's batch. Owners that are being run wait for their lane, so that one request
    alone never has more than one batch in the model. The first lane is for long ones, whose next batch waits for the
    end of the short ones that run, once, and is small while such may come.
    """

    def __init__(self, lanes: Sequence[Run[Item, Result]], size: int, beside: int | None = None) -> None:
        self.size, self.beside = size, beside
        self._lanes, self._free = tuple(lanes), list(lanes)
        self._queues: dict[Hashable, deque[_Waiting[Item, Result]]] = {}
        self._running: Counter[Hashable] = Counter()
        self._batches: set[asyncio.Task[None]] = set()
        self._courtesy = Courtesy()

    async def submit(self, key: Hashable, item: Item, owner: Hashable = None) -> Timed[Result]:
        """Wait for the batch that holds this item, and return its own result."""
        waiting: _Waiting[Item, Result] = _Waiting(item, key, owner, asyncio.get_running_loop().create_future())
        self._queues.setdefault(owner, deque()).append(waiting)
        # Only after all who are ready to submit have done so.
        asyncio.get_running_loop().call_soon(self._start)
        return await waiting.done

    def _start(self) -> None:
        while self._free and (batch := self._next_batch()):
            lane = min if self._courtesy.is_long(batch[0].owner) else max
            run = lane(self._free, key=self._lanes.index)
            self._free.remove(run)
            owners = [waiting.owner for waiting in batch]
            self._running.update(owners)
            full = len(batch) == self._most(owners[0])
            task = asyncio.create_task(self._answer(run, batch, full=full))
            self._courtesy.began(task, owners)
            self._batches.add(task)
            task.add_done_callback(partial(self._ended, run, batch))

    def _ended(self, run: Run[Item, Result], batch: Sequence[_Waiting[Item, Result]], task: asyncio.Task[None]) -> None:
        self._free.append(run)
        self._running -= Counter(waiting.owner for waiting in batch)
        self._batches.discard(task)
        self._courtesy.ended(task)
        self._start()

    async def _answer(self, run: Run[Item, Result], batch: Sequence[_Waiting[Item, Result]], *, full: bool) -> None:
        started = time.perf_counter()
        items = [waiting.item for waiting in batch]
        try:
            results = await run(batch[0].key, items)
            answers = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
            _fail(batch, error)
            return
        took = time.perf_counter() - started
        for waiting, result in answers:
            if not waiting.done.done():
                waiting.done.set_result(Timed(result, started - waiting.since, took, full))

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """The oldest item of the owner whose turn it is, and what can go with it, an item of each owner in turn."""
        self._forget_the_gone()
        batch: list[_Waiting[Item, Result]] = []
        idle = (owner for owner in self._queues if not (self._batches and self._running[owner]))
        turn = [owner for owner in idle if not self._courtesy.gives_way(owner)]
        most = self._most(turn[0]) if turn else 0
        while turn and len(batch) < most:
            owner = turn.pop(0)
            if waiting := _take(self._queues[owner], batch[0].key if batch else None):
                batch.append(waiting)
                self._queues[owner] = self._queues.pop(owner)  # to the end of the line
                turn.append(owner)
        return batch

    def _most(self, owner: Hashable) -> int:
        """Return how large a batch may be that starts now with an item of this owner."""
        most = self._courtesy.most(owner, self.size)
        return most if self.beside is None or not self._batches else min(most, self.beside)

    def _forget_the_gone(self) -> None:
        for owner, queue in list(self._queues.items()):
            alive = deque(waiting for waiting in queue if not waiting.done.done())
            self._queues[owner] = alive
            if not alive:
                del self._queues[owner]


def threaded(run: Callable[[Hashable, Sequence[Item]], Sequence[Result]], lanes: int = 1) -> list[Run[Item, Result]]:
    """Let a blocking `run` work in as many lanes, each a thread of its own.

    The processor serves the later ones first, where `run` computes in the thread that called it: they are for short
    requests beside long ones.
    """
    return [_lane(run, BACKGROUND if lane == 0 and lanes > 1 else 0) for lane in range(lanes)]


def _lane(run: Callable[[Hashable, Sequence[Item]], Sequence[Result]], nice: int) -> Run[Item, Result]:
    thread = threads(1, "batch", nice)

    def in_thread(key: Hashable, items: Sequence[Item]) -> Awaitable[Sequence[Result]]:
        heap.in_use()
        return asyncio.get_running_loop().run_in_executor(thread, run, key, items)

    return in_thread


def _take(queue: deque[_Waiting[Item, Result]], key: Hashable | None) -> _Waiting[Item, Result] | None:
    """Take the oldest item, or the oldest of a key."""
    for waiting in queue:
        if key is None or waiting.key == key:
            queue.remove(waiting)
            return waiting
    return None


def _fail(batch: Sequence[_Waiting[Item, Result]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
