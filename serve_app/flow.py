"""How work flows: a blocking iterator taken from the event loop, bounds on what is under way, seconds per part."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


async def in_thread(items: Generator[T]) -> AsyncGenerator[T]:
    """Take a blocking generator's items in a thread: it works while one is waited for, and never runs ahead.

    When whoever takes them goes, the item that is being made is waited for and dropped, and the generator closed.
    """
    making: asyncio.Future[object] | None = None
    try:
        while True:
            making = asyncio.ensure_future(asyncio.to_thread(next, items, _END))
            item = await asyncio.shield(making)
            if item is _END:
                return
            yield item  # type: ignore[misc]  # it is a T: `next` cannot say that its default is not one
    finally:
        if making is not None:
            await asyncio.wait([making])  # a generator that runs cannot be closed
        items.close()


class Slots:
    """How many windows or blocks of a request are under way at once: more while they find their stage hungry.

    Few fill a few replicas and leave the autoscaler something to see; what waits longer than it is worked on would only
    wait elsewhere.
    """

    GROWTH = 32
    STEP = 2
    UNHURRIED = 1.5

    def __init__(self, first: int) -> None:
        self.first = self._limit = first
        self._taken = 0
        self._quickest = float("inf")
        self._free = asyncio.Event()

    async def take(self) -> None:
        """Wait for a slot."""
        while self._taken >= self._limit:
            self._free.clear()
            await self._free.wait()
        self._taken += 1

    def give_back(self, *, hungry: bool = False) -> None:
        """Free a slot; a hungry stage gets one more, a sated one no more than it began with."""
        self._taken -= 1
        most = self.GROWTH * self.first
        self._limit = min(self._limit + self.STEP, most) if hungry else max(self._limit - 1, self.first)
        self._free.set()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Give a slot back that was taken, after work that always costs the same: if it was quick, nobody waited."""
        began = time.perf_counter()
        hungry = False
        try:
            yield
            took = time.perf_counter() - began
            self._quickest = min(self._quickest, took)
            hungry = took < self.UNHURRIED * self._quickest
        finally:
            self.give_back(hungry=hungry)


class Clock:
    """Seconds per part of the work: the wall time from a part's first start to its last end."""

    def __init__(self) -> None:
        self._origin = time.perf_counter()
        self._spans: dict[str, tuple[float, float]] = {}
        self._sums: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure one stretch of a part; several may run at once."""
        start = time.perf_counter()
        try:
            yield
        finally:
            first, _ = self._spans.get(name, (start, start))
            self._spans[name] = (first, time.perf_counter())

    @contextmanager
    def adding(self, name: str) -> Iterator[None]:
        """Measure one stretch of a part that is counted as a sum."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add to a part that is counted as a sum, not as wall time."""
        self._sums[name] = self._sums.get(name, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Return every part, and `total` since the clock was made."""
        walls = {name: end - start for name, (start, end) in self._spans.items()}
        return {**walls, **self._sums, "total": time.perf_counter() - self._origin}
