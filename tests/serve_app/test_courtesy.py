import asyncio
from collections.abc import Hashable, Sequence

from serve_app.batching import Batcher
from serve_app.courtesy import GENTLE, GENTLE_S, LONG_TURNS, REMEMBERED, Courtesy


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_a_long_one() -> tuple[Courtesy, Clock]:
    clock = Clock()
    courtesy = Courtesy(clock)
    for turn in range(LONG_TURNS):
        courtesy.began(turn, ["long"])
        courtesy.ended(turn)
    return courtesy, clock


def test_alone_nobody_waits_and_batches_are_whole() -> None:
    courtesy, _ = with_a_long_one()
    assert not courtesy.gives_way("long")
    assert courtesy.most("long", 16) == 16


def test_a_long_request_waits_for_those_that_it_found_and_then_goes() -> None:
    courtesy, _ = with_a_long_one()
    courtesy.began("first", ["clip"])
    assert courtesy.gives_way("long")
    courtesy.began("second", ["other clip"])
    courtesy.ended("first")
    assert not courtesy.gives_way("long")
    courtesy.began("own", ["long"])
    assert courtesy.gives_way("long")
    courtesy.ended("second")
    assert not courtesy.gives_way("long")


def test_a_long_request_waits_for_all_that_it_found() -> None:
    for ends in (["first", "second"], ["second", "first"]):
        courtesy, _ = with_a_long_one()
        courtesy.began("first", ["clip"])
        courtesy.began("second", ["other clip"])
        waits = [courtesy.gives_way("long")]
        for batch in ends:
            courtesy.ended(batch)
            waits.append(courtesy.gives_way("long"))
        assert waits == [True, True, False]


def test_a_batch_that_a_long_request_shares_is_its_own() -> None:
    courtesy, _ = with_a_long_one()
    courtesy.began("first", ["clip"])
    assert courtesy.gives_way("long")
    courtesy.ended("first")
    courtesy.began("shared", ["clip", "long"])
    courtesy.began("second", ["other clip"])
    assert courtesy.gives_way("long")


def test_short_requests_never_wait() -> None:
    courtesy, _ = with_a_long_one()
    courtesy.began("first", ["clip"])
    assert not courtesy.gives_way("clip")
    assert courtesy.most("clip", 16) == 16


def test_batches_are_small_while_short_requests_may_come() -> None:
    courtesy, clock = with_a_long_one()
    courtesy.began("first", ["clip"])
    courtesy.ended("first")
    assert courtesy.most("long", 16) == 16 // GENTLE
    assert courtesy.most("long", 2) == 1
    clock.now += GENTLE_S
    assert courtesy.most("long", 16) == 16


def test_two_long_requests_side_by_side_owe_each_other_nothing() -> None:
    courtesy, clock = with_a_long_one()
    for turn in range(LONG_TURNS + 1):
        courtesy.began(turn, ["other"])
        courtesy.ended(turn)
    clock.now += GENTLE_S
    courtesy.began("batch", ["other"])
    assert not courtesy.gives_way("long")
    assert courtesy.most("long", 16) == 16


def test_it_does_not_remember_everybody() -> None:
    courtesy, _ = with_a_long_one()
    for owner in range(REMEMBERED):
        courtesy.began(owner, [owner])
    courtesy.began("first", ["clip"])
    assert not courtesy.gives_way("long")


def test_whoever_is_at_work_is_remembered() -> None:
    courtesy, _ = with_a_long_one()
    for owner in range(REMEMBERED):
        courtesy.began(owner, [owner])
        if owner == REMEMBERED // 2:
            courtesy.began("own", ["long"])
    assert courtesy.is_long("long")


def test_many_items_in_one_batch_do_not_make_a_long_request() -> None:
    courtesy = Courtesy()
    courtesy.began("first", ["clip"] * LONG_TURNS)
    assert not courtesy.is_long("clip")


def test_a_clip_that_shared_a_long_requests_first_batches_was_a_short_one() -> None:
    courtesy = Courtesy(Clock())
    for turn in range(LONG_TURNS):
        courtesy.began(turn, ["long", "clip"][: turn + 1])
    assert courtesy.most("long", 16) == 16 // GENTLE


def test_nobody_is_not_long() -> None:
    courtesy = Courtesy()
    for turn in range(LONG_TURNS + 1):
        courtesy.began(turn, [None])
    assert courtesy.most(None, 8) == 8
    assert not courtesy.gives_way(None)


async def test_a_long_files_next_batch_starts_after_the_clip_that_runs_beside_it_and_is_small() -> None:
    """Batches are let go by name: what runs, and in which order, is told by the model's own diary."""
    started: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
    ends = dict[tuple[str, ...], asyncio.Event]()

    async def run(key: Hashable, items: Sequence[str]) -> Sequence[str]:
        ends[tuple(items)] = asyncio.Event()
        started.put_nowait(tuple(items))
        await ends[tuple(items)].wait()
        return items

    async def next_batch() -> tuple[str, ...]:
        return await asyncio.wait_for(started.get(), 5)

    async def another_lane(key: Hashable, items: Sequence[str]) -> Sequence[str]:
        return await run(key, items)

    batcher: Batcher[str, str] = Batcher([run, another_lane], 4)
    long = [asyncio.create_task(batcher.submit("", f"l{i}", "long")) for i in range(24)]
    for _ in range(LONG_TURNS):
        ends[await next_batch()].set()
    running = await next_batch()
    clip = asyncio.create_task(batcher.submit("", "clip", "clip"))
    assert await next_batch() == ("clip",)
    ends[running].set()
    await asyncio.wait(long[:16], return_when=asyncio.ALL_COMPLETED, timeout=5)
    assert started.empty()
    ends["clip",].set()
    assert (await clip).result == "clip"
    assert await next_batch() == ("l16",)
    ends["l16",].set()
    assert (await asyncio.wait_for(long[16], 5)).full, "it has no room for more"
    for task in long:
        task.cancel()
