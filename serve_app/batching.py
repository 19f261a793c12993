"""Batches across requests: whatever waits while the model is busy is decoded together next."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timed(Generic[Result]):
    """A result, how long its item waited for a batch, and how long the batch took (seconds)."""

    result: Result
    queue_s: float
    model_s: float


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    done: asyncio.Future[Timed[Result]]
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Item, Result]):
    """Runs `run(key, items)` in one thread, for up to `size` waiting items of equal key at a time, oldest first.

    There is no timer: an idle model starts at once, a busy one finds the next batch already gathered. An item whose
    caller went away is dropped before it reaches the model.
    """

    def __init__(self, run: Callable[[Hashable, Sequence[Item]], Sequence[Result]], size: int) -> None:
        self._run = run
        self._size = size
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, key: Hashable, item: Item) -> Timed[Result]:
        """Wait for the batch that holds this item, and return its own result."""
        waiting: _Waiting[Item, Result] = _Waiting(item, key, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.done

    async def _work(self) -> None:
        while batch := self._next_batch():
            started = time.perf_counter()
            try:
                results = await asyncio.to_thread(self._run, batch[0].key, [waiting.item for waiting in batch])
                answers = list(zip(batch, results, strict=True))
            except Exception as error:  # noqa: BLE001 - every caller of the batch gets it
                _fail(batch, error)
                continue
            took = time.perf_counter() - started
            for waiting, result in answers:
                if not waiting.done.done():
                    waiting.done.set_result(Timed(result, started - waiting.since, took))

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        alive = [waiting for waiting in self._waiting if not waiting.done.done()]
        batch = [waiting for waiting in alive if waiting.key == alive[0].key][: self._size]
        taken = {id(waiting) for waiting in batch}
        self._waiting = deque(waiting for waiting in alive if id(waiting) not in taken)
        return batch


def _fail(batch: Sequence[_Waiting[Item, Result]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)
