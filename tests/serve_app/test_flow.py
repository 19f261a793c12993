"""How many windows are under way at once, and which of those that wait is next."""

import asyncio

import pytest

from serve_app.flow import Slots


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
