"""How work flows: a blocking iterator taken from the event loop, bounds on what is under way, seconds per part."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from serve_app.priorities import background

T = TypeVar("T")
_END = object()
LONG = 16
"""Items after which a generator is a long file's, which steps back."""


async def in_thread(items: Generator[T]) -> AsyncGenerator[T]:
    """Take a blocking generator's items in a thread: it works while one is waited for, and never runs ahead.

    After `LONG` items it steps back behind shorter ones. When whoever takes them goes, the item that is being made is
    waited for and dropped, and the generator closed.
    """
    making: asyncio.Future[object] | None = None
    try:
        for count in itertools.count():
            executor = background() if count >= LONG else None
            making = asyncio.get_running_loop().run_in_executor(executor, next, items, _END)
            item = await asyncio.shield(making)
            if item is _END:
                return
            yield item  # type: ignore[misc]  # it is a T: `next` cannot say that its default is not one
    finally:
        if making is not None:
            await asyncio.wait([making])  # a generator that runs cannot be closed
        items.close()


@dataclass(slots=True, eq=False)
class _Waiting:
    size: float
    free: asyncio.Future[None]


class Slots:
    """How many windows or blocks of a request are under way at once: more while they find their stage hungry.

    Few fill a few replicas and leave the autoscaler something to see; what waits longer than it is worked on would only
    wait elsewhere. Slots go to who waits longest until `last_in`, then to the largest.
    """

    GROWTH = 32
    STEP = 2
    UNHURRIED = 1.5

    def __init__(self, first: int, replicas: int = 0) -> None:
        self._most = self.GROWTH * first
        self.first = self._limit = max(first, 2 * replicas)
        self._taken = 0
        self._quickest = float("inf")
        self._waiting: list[_Waiting] = []
        self._largest_first = False

    async def take(self, size: float = 0.0) -> None:
        """Wait for a slot."""
        mine = _Waiting(size, asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        self._admit()
        try:
            await mine.free
        except asyncio.CancelledError:
            if not mine.free.cancelled():
                self.give_back()
            elif mine in self._waiting:
                self._waiting.remove(mine)
            raise

    def last_in(self) -> None:
        """Say that nobody comes after those who wait: the largest ones first, then all end at much the same time."""
        self._largest_first = True

    def give_back(self, *, hungry: bool = False) -> None:
        """Free a slot; a hungry stage gets one more, a sated one no more than it began with."""
        self._taken -= 1
        most = max(self._most, self.first)
        self._limit = min(self._limit + self.STEP, most) if hungry else max(self._limit - 1, self.first)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._taken < self._limit:
            next_one = max(self._waiting, key=lambda each: each.size) if self._largest_first else self._waiting[0]
            self._waiting.remove(next_one)
            if not next_one.free.done():  # who was cancelled has yet to hear of it
                self._taken += 1
                next_one.free.set_result(None)

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
