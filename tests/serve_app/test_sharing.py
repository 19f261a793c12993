"""Work that is asked for twice: joined, found again, given up, forgotten."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from fakes import segment

from serve_app.errors import StageFailed
from serve_app.events import Done, Event, Progress, Spoken
from serve_app.sharing import SharedWork
from serve_app.transcript import Transcript

FIRST, SECOND = (Spoken((segment(text, start, start + 1),), "en") for start, text in enumerate(["One.", "Two."]))
END = Done(Transcript("en", 2.0))


class Work:
    """Tells `FIRST`, then waits to be let go, then tells the rest or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.starts, self.ended = 0, asyncio.Event()
        self.go = asyncio.Event()
        self._failure = failure

    async def start(self) -> AsyncGenerator[Event]:
        self.starts += 1
        try:
            yield Progress(windows=1)
            yield FIRST
            await self.go.wait()
            if self._failure:
                raise self._failure
            yield Progress(windows=2)
            yield SECOND
            yield END
        finally:
            self.ended.set()


class Reluctant(Work):
    """Ends only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.ending, self.may_end = asyncio.Event(), asyncio.Event()

    async def start(self) -> AsyncGenerator[Event]:
        try:
            async with aclosing(super().start()) as events:
                async for event in events:
                    yield event
        finally:
            self.ending.set()
            await self.may_end.wait()


async def settled() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def forgotten(shared: SharedWork) -> None:
    """Wait until nothing is kept any more."""
    for _ in range(100):
        await asyncio.sleep(0.01)  # the time that it is kept
        if not shared._works:
            break


async def heard(shared: SharedWork, work: Work, key: str = "key") -> list[Event]:
    async with aclosing(shared.join(key, work.start)) as events:
        return [event async for event in events if not isinstance(event, Progress)]


async def leave_after_the_first(shared: SharedWork, work: Work) -> None:
    async with aclosing(shared.join("key", work.start)) as events:
        async for event in events:
            if event is FIRST:
                return


async def test_who_asks_while_it_goes_on_joins_and_hears_all_of_it() -> None:
    shared, work = SharedWork(linger_s=0), Work()
    first = asyncio.create_task(heard(shared, work))
    await leave_after_the_first(shared, work)
    second = asyncio.create_task(heard(shared, work))
    work.go.set()
    assert await first == await second == [FIRST, SECOND, END]
    assert work.starts == 1


async def test_another_key_is_other_work() -> None:
    shared, work = SharedWork(linger_s=0), Work()
    work.go.set()
    assert await asyncio.gather(heard(shared, work, "a"), heard(shared, work, "b")) == [[FIRST, SECOND, END]] * 2
    assert work.starts == 2


async def test_of_progress_a_late_listener_hears_the_latest_only() -> None:
    shared, work = SharedWork(linger_s=60), Work()
    await leave_after_the_first(shared, work)
    work.go.set()
    await work.ended.wait()
    async with aclosing(shared.join("key", work.start)) as events:
        told = [event async for event in events]
    assert told == [Progress(windows=2), FIRST, SECOND, END]
    assert work.starts == 1


async def test_a_result_that_was_taken_is_forgotten() -> None:
    shared, work = SharedWork(linger_s=0), Work()
    work.go.set()
    await heard(shared, work)
    await heard(shared, work)
    assert work.starts == 2


async def test_a_result_that_nobody_took_is_forgotten_after_a_while() -> None:
    shared, work = SharedWork(linger_s=60, keep_s=0.01), Work()
    await leave_after_the_first(shared, work)
    work.go.set()
    await work.ended.wait()
    await forgotten(shared)
    await heard(shared, work)
    assert work.starts == 2


async def test_a_result_that_somebody_heard_in_part_is_forgotten_after_a_while() -> None:
    shared, work = SharedWork(linger_s=60, keep_s=0.01), Work()
    async with aclosing(shared.join("key", work.start)) as events:
        async for event in events:
            if event is FIRST:
                work.go.set()
                await work.ended.wait()
                await settled()
                break
    await forgotten(shared)
    await heard(shared, work)
    assert work.starts == 2


async def test_work_that_nobody_listens_to_is_given_up() -> None:
    shared, work = SharedWork(linger_s=0.01), Work()
    await leave_after_the_first(shared, work)
    assert not work.ended.is_set()
    await asyncio.wait_for(work.ended.wait(), 5)
    work.go.set()
    assert await heard(shared, work) == [FIRST, SECOND, END]
    assert work.starts == 2


async def test_work_that_is_being_given_up_is_nobodys() -> None:
    shared, work = SharedWork(linger_s=0), Reluctant()
    await leave_after_the_first(shared, work)
    await asyncio.wait_for(work.ending.wait(), 5)
    second = asyncio.create_task(heard(shared, work))
    await settled()
    work.may_end.set()
    await settled()
    third = asyncio.create_task(heard(shared, work))
    await settled()
    work.go.set()
    assert await second == await third == [FIRST, SECOND, END]
    assert work.starts == 2


async def test_who_stays_keeps_it_going() -> None:
    shared, work = SharedWork(linger_s=0), Work()
    stays = asyncio.create_task(heard(shared, work))
    await leave_after_the_first(shared, work)
    await asyncio.sleep(0.01)  # longer than the work may linger
    work.go.set()
    assert await stays == [FIRST, SECOND, END]


async def test_who_comes_back_in_time_keeps_it_going() -> None:
    shared, work = SharedWork(linger_s=0.05), Work()
    await leave_after_the_first(shared, work)
    again = asyncio.create_task(heard(shared, work))
    await asyncio.sleep(0.1)  # longer than the work may linger
    assert not work.ended.is_set()
    work.go.set()
    assert await again == [FIRST, SECOND, END]
    assert work.starts == 1


async def test_a_failure_reaches_all_and_is_not_kept() -> None:
    shared, work = SharedWork(linger_s=0), Work(StageFailed("it broke"))
    work.go.set()
    failures = await asyncio.gather(heard(shared, work), heard(shared, work), return_exceptions=True)
    assert [str(failure) for failure in failures] == ["it broke"] * 2
    assert work.starts == 1
    with pytest.raises(StageFailed):
        await heard(shared, work)
    assert work.starts == 2


async def test_a_failure_that_nobody_was_there_to_hear_is_not_kept() -> None:
    shared, work = SharedWork(linger_s=60), Work(StageFailed("it broke"))
    await leave_after_the_first(shared, work)
    work.go.set()
    await work.ended.wait()
    await settled()
    with pytest.raises(StageFailed):
        await heard(shared, work)
    assert work.starts == 2


@pytest.mark.parametrize("failure", [None, StageFailed("it broke")])
async def test_an_end_that_is_late_reaches_those_who_wait_for_it(failure: Exception | None) -> None:
    shared, work = SharedWork(linger_s=0), Reluctant()
    work._failure = failure
    work.go.set()
    told = list[Event]()

    async def listen() -> None:
        async with aclosing(shared.join("key", work.start)) as events:
            async for event in events:
                told.append(event)

    waiting = asyncio.create_task(listen())
    await work.ending.wait()
    await settled()
    assert not waiting.done()
    work.may_end.set()
    await asyncio.wait([waiting], timeout=5)
    assert waiting.exception() is failure
    assert told == ([Progress(windows=1), FIRST] if failure else [Progress(windows=2), FIRST, SECOND, END])


async def test_work_runs_in_the_context_that_is_made_for_it() -> None:
    whose = contextvars.ContextVar("whose", default="the first client's")
    context = contextvars.Context()
    context.run(whose.set, "nobody's")
    found = list[str]()

    async def start() -> AsyncGenerator[Event]:
        found.append(whose.get())
        yield END

    async with aclosing(SharedWork(linger_s=0, context=lambda: context).join("key", start)) as events:
        assert [event async for event in events] == [END]
    assert found == ["nobody's"]
