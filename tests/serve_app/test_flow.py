"""How many windows are under way at once, which of those that wait is next, and how the time goes."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import aclosing

import pytest

from serve_app import flow
from serve_app.flow import Clock, Slots, in_thread


class Time:
    """The time of day, set by hand."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(flow, "time", time)
    return time


async def settled() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def full(first: int, replicas: int = 0) -> Slots:
    slots = Slots(first, replicas)
    for _ in range(slots.first):
        await slots.take()
    return slots


def takers(slots: Slots, *sizes: float) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(slots.take(size)) for size in sizes]


def through(waiting: list[asyncio.Task[None]]) -> list[int]:
    return [place for place, task in enumerate(waiting) if task.done()]


async def test_a_hungry_stage_is_sent_more_and_a_sated_one_no_more_than_at_first() -> None:
    slots = await full(2)
    waiting = takers(slots, *[0] * 6)
    await settled()
    slots.give_back(hungry=True)
    await settled()
    assert len(through(waiting)) == 1 + Slots.STEP
    slots.give_back()
    await settled()
    assert len(through(waiting)) == 1 + Slots.STEP
    for _ in range(3):
        slots.give_back()
    await settled()
    assert len(through(waiting)) == 5
    slots.give_back()
    await asyncio.wait_for(waiting[5], 1)


async def test_however_hungry_a_stage_is_there_is_an_end_to_what_it_is_sent() -> None:
    slots = await full(1)
    for _ in range(Slots.GROWTH):
        slots.give_back(hungry=True)
        await asyncio.wait_for(slots.take(), 1)
    waiting = takers(slots, *[0] * Slots.GROWTH)
    await settled()
    assert len(through(waiting)) == Slots.GROWTH - 1
    waiting[-1].cancel()


async def test_a_stage_of_very_many_replicas_keeps_what_it_began_with() -> None:
    slots = await full(1, Slots.GROWTH)
    waiting = takers(slots, 0, 0)
    slots.give_back(hungry=True)
    await settled()
    assert through(waiting) == [0]
    waiting[1].cancel()


async def test_work_that_takes_no_longer_than_ever_asks_for_more(time: Time) -> None:
    slots = await full(3)
    waiting = takers(slots, *[0] * 9)

    async def worked(seconds: float) -> int:
        async with slots.held():
            time.now += seconds
        await settled()
        return len(through(waiting))

    assert await worked(1.0) == 1 + Slots.STEP
    assert await worked(1.4) == 2 * (1 + Slots.STEP)
    assert await worked(1.6) == 2 * (1 + Slots.STEP)
    assert await worked(0.4) == 2 * (1 + Slots.STEP) + 1 + Slots.STEP
    with pytest.raises(ZeroDivisionError):
        async with slots.held():
            raise ZeroDivisionError
    assert slots._taken == 7


async def test_two_for_each_replica_are_under_way_from_the_start() -> None:
    assert Slots(16, 64).first == 128
    assert Slots(16, 2).first == 16


async def test_who_waits_longest_is_next_until_nobody_follows_then_the_largest() -> None:
    slots = await full(1)
    waiting = takers(slots, 1, 2, 9, 5)
    await settled()
    slots.give_back()
    await settled()
    assert through(waiting) == [0]
    slots.last_in()
    for expected in ([0, 2], [0, 2, 3], [0, 1, 2, 3]):
        slots.give_back()
        await settled()
        assert through(waiting) == expected


async def test_one_who_comes_when_there_is_room_does_not_overtake() -> None:
    slots = await full(1)
    first = takers(slots, 1)
    await settled()
    slots.give_back()
    second = takers(slots, 9)
    await settled()
    assert through([*first, *second]) == [0]
    second[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await second[0]


@pytest.mark.parametrize("when", ["long before", "just before", "just after", "long after"])
async def test_a_slot_is_not_lost_with_one_who_goes(when: str) -> None:
    slots = await full(1)
    gone, stays = takers(slots, 1, 1)
    await settled()
    if when.endswith("before"):
        gone.cancel()
    if when == "long before":
        await settled()
    slots.give_back()
    if when == "long after":
        await settled()
    gone.cancel()
    if when == "long after":  # it has the slot already, and gives it back as whoever holds one does
        await gone
        slots.give_back()
    else:
        with pytest.raises(asyncio.CancelledError):
            await gone
    await asyncio.wait_for(stays, 1)
    assert slots._taken == 1


async def test_whoever_goes_waits_for_the_item_that_is_being_made() -> None:
    begun, may_end, closed = threading.Event(), threading.Event(), threading.Event()

    def items() -> Generator[int]:
        try:
            begun.set()
            yield int(may_end.wait(10))
        finally:
            closed.set()

    async def take() -> None:
        async with aclosing(in_thread(items())) as taken:
            async for _ in taken:
                raise AssertionError("the item is dropped")

    task = asyncio.create_task(take())
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await settled()
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


def test_a_part_lasts_from_its_first_start_to_its_last_end_and_sums_add_up(time: Time) -> None:
    clock = Clock()
    time.now = 1.0
    with clock.part("transcription"):
        time.now = 3.0
    with clock.part("transcription"), clock.adding("vad"):
        time.now = 4.0
    with clock.adding("vad"):
        time.now = 4.5
    assert clock.seconds() == {"transcription": 3.0, "vad": 1.5, "total": 4.5}
