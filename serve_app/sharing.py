"""Work that is asked for twice is done once: who asks later joins, who comes back after a time-out finds it."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial

from serve_app.events import Event, Progress

KEEP_S = 60.0
"""How long a result is kept that nobody was there to take."""

Start = Callable[[], AsyncGenerator[Event]]


class SharedWork:
    """Work by its key: what is asked for while it goes on is not done again.

    Work that nobody listens to any more goes on for `linger_s`, then it is given up. A result that nobody was there
    to take is kept for `keep_s`; one that was taken, and an error, are forgotten at once.
    """

    def __init__(
        self,
        linger_s: float,
        keep_s: float = KEEP_S,
        context: Callable[[], contextvars.Context] = contextvars.copy_context,
    ) -> None:
        self._linger_s, self._keep_s = linger_s, keep_s
        self._context = context
        self._works: dict[str, _Work] = {}

    async def join(self, key: str, start: Start) -> AsyncGenerator[Event]:
        """Tell a work's events from its first one, starting it if need be; raises what it raises."""
        work = self._works.get(key) or self._begin(key, start)
        work.arrive()
        try:
            async for event in work.events():
                yield event
            self._forget(key, work)
            work.task.result()
        finally:
            work.leave()
            if not work.listeners:
                self._left(key, work)

    def _begin(self, key: str, start: Start) -> "_Work":
        self._works[key] = work = _Work(start, self._context())
        work.task.add_done_callback(partial(self._ended, key, work))
        return work

    def _left(self, key: str, work: "_Work") -> None:
        if not work.task.done():
            work.leaving = asyncio.get_running_loop().call_later(self._linger_s, self._give_up, key, work)
        elif self._works.get(key) is work:  # whoever left had not heard its end
            asyncio.get_running_loop().call_later(self._keep_s, self._forget, key, work)

    def _ended(self, key: str, work: "_Work", task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception():
            self._forget(key, work)
        elif not work.listeners:
            asyncio.get_running_loop().call_later(self._keep_s, self._forget, key, work)

    def _give_up(self, key: str, work: "_Work") -> None:
        self._forget(key, work)
        work.task.cancel()

    def _forget(self, key: str, work: "_Work") -> None:
        if self._works.get(key) is work:
            del self._works[key]


class _Work:
    """One piece of work under way: what it has told, who listens, and since when nobody does."""

    def __init__(self, start: Start, context: contextvars.Context) -> None:
        self.leaving: asyncio.TimerHandle | None = None
        self._told: list[Event] = []
        self._progress: Progress | None = None
        self._more = asyncio.Event()
        self.listeners = 0
        self.task = asyncio.create_task(self._run(start), context=context)
        self.task.add_done_callback(lambda _: self._wake())

    def arrive(self) -> None:
        """Count a listener."""
        self.listeners += 1
        if self.leaving:
            self.leaving.cancel()
            self.leaving = None

    def leave(self) -> None:
        """Count a listener out."""
        self.listeners -= 1

    async def events(self) -> AsyncGenerator[Event]:
        """Yield all that was told and will be; of progress only the latest."""
        heard, progress = 0, None
        while True:
            more, over = self._more, self.task.done()
            if self._progress is not progress and (progress := self._progress):
                yield progress
            while heard < len(self._told):
                heard += 1
                yield self._told[heard - 1]
            if over:
                return
            await more.wait()

    async def _run(self, start: Start) -> None:
        async with aclosing(start()) as events:
            async for event in events:
                if isinstance(event, Progress):
                    self._progress = event
                else:
                    self._told.append(event)
                self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()
