"""Lanes: short requests run beside long ones, nobody has two batches at once, and of those that end nothing is left."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Hashable, Sequence

import pytest

from serve_app.batching import Batcher, threaded
from serve_app.courtesy import LONG_TURNS
from serve_app.priorities import BACKGROUND


class Model:
    """Notes which lane runs what; a batch with a held item stays in it until it is let go."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.may_go = asyncio.Event()

    def lane(self, name: str) -> Callable[[Hashable, Sequence[str]], Awaitable[Sequence[str]]]:
        async def run(key: Hashable, items: Sequence[str]) -> Sequence[str]:
            self.ran.append((name, *items))
            if "held" in items:
                await self.may_go.wait()
            return items

        return run


def send(batcher: Batcher[str, str], item: str, *owners: str) -> list[asyncio.Task[str]]:
    async def sent(owner: str) -> str:
        return (await batcher.submit("", item, owner)).result

    return [asyncio.create_task(sent(owner)) for owner in owners]


async def settled() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_with_a_second_lane_another_owner_does_not_wait_for_the_batch_that_runs() -> None:
    running, go = asyncio.Queue[Hashable](), threading.Event()
    loop = asyncio.get_running_loop()

    def run(key: Hashable, items: Sequence[str]) -> Sequence[str]:
        loop.call_soon_threadsafe(running.put_nowait, tuple(items))
        if "long" in items[0]:
            assert go.wait(10)
        return items

    batcher: Batcher[str, str] = Batcher(threaded(run, 2), 2)
    long = [asyncio.create_task(batcher.submit("a", f"long {i}", "long")) for i in range(4)]
    assert await asyncio.wait_for(running.get(), 10) == ("long 0", "long 1")
    short = await asyncio.wait_for(batcher.submit("a", "short", "short"), 10)
    assert short.result == "short"
    assert await running.get() == ("short",)
    assert running.empty()
    assert not any(task.done() for task in long)
    go.set()
    assert [timed.result for timed in await asyncio.gather(*long)] == [f"long {i}" for i in range(4)]


async def test_two_lanes_never_run_more_than_two_batches_and_lose_nothing() -> None:
    lock, at_once, most = threading.Lock(), 0, 0

    def run(key: Hashable, items: Sequence[int]) -> Sequence[int]:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        with lock:
            at_once -= 1
        return items

    batcher: Batcher[int, int] = Batcher(threaded(run, 2), 3)
    tasks = [asyncio.create_task(batcher.submit(i % 2, i, i % 7)) for i in range(100)]
    assert [timed.result for timed in await asyncio.gather(*tasks)] == list(range(100))
    assert most <= 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
async def test_the_first_of_two_lanes_steps_back_for_the_other_and_a_single_one_does_not() -> None:
    def run(key: Hashable, items: Sequence[int]) -> Sequence[int]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())] * len(items)

    here = os.getpriority(os.PRIO_PROCESS, 0)
    (alone,), (first, second) = threaded(run), threaded(run, 2)
    assert await alone("", [0]) == [here]
    assert await first("", [0]) == [min(19, here + BACKGROUND)]
    assert await second("", [0]) == [here]


async def test_the_first_lane_is_for_long_requests_and_the_last_one_for_short_ones() -> None:
    model = Model()
    batcher = Batcher([model.lane("first"), model.lane("last")], 4)
    for owner in (*["long"] * (LONG_TURNS + 1), "clip", "long"):
        await asyncio.gather(*send(batcher, owner, owner))
        await settled()
    assert model.ran == [*[("last", "long")] * LONG_TURNS, ("first", "long"), ("last", "clip"), ("first", "long")]


async def after_a_long_one(*lanes: str) -> tuple[Model, Batcher[str, str]]:
    model = Model()
    batcher = Batcher([model.lane(name) for name in lanes], 4)
    for _ in range(LONG_TURNS):
        await asyncio.gather(*send(batcher, "long", "long"))
        await settled()
    model.ran.clear()
    return model, batcher


async def test_a_batch_that_begins_with_a_short_request_is_whole() -> None:
    model, batcher = await after_a_long_one("only")
    tasks = send(batcher, "held", "clip")
    await settled()
    tasks += [*send(batcher, "short", "other", "other"), *send(batcher, "long", *["long"] * 3)]
    await settled()
    model.may_go.set()
    await asyncio.gather(*tasks)
    assert model.ran[1] == ("only", "short", "long", "short", "long")


async def test_all_that_may_start_when_a_batch_ends_starts() -> None:
    model, batcher = await after_a_long_one("first", "last")
    batcher.size = 1  # nobody shares a batch
    tasks = send(batcher, "held", "clip")
    await settled()
    tasks += [*send(batcher, "held", "long"), *send(batcher, "held", "clip")]
    await settled()
    assert model.ran == [("last", "held")]
    model.may_go.set()
    model.may_go.clear()
    await settled()
    assert model.ran[1:] == [("first", "held"), ("last", "held")]
    model.may_go.set()
    await asyncio.gather(*tasks)


async def test_nobody_who_shares_a_batch_has_another_beside_it() -> None:
    model = Model()
    batcher = Batcher([model.lane("first"), model.lane("last")], 2)
    together = send(batcher, "held", "a", "b")
    await settled()
    later = send(batcher, "later", "a", "b")
    await settled()
    assert model.ran == [("last", "held", "held")]
    await asyncio.gather(*send(batcher, "clip", "c"))
    assert model.ran[1:] == [("first", "clip")]
    model.may_go.set()
    assert await asyncio.gather(*together, *later) == ["held", "held", "later", "later"]


async def test_who_shared_a_batch_waits_for_no_other_once_it_has_ended() -> None:
    model = Model()
    batcher = Batcher([model.lane("first"), model.lane("last")], 2)
    await asyncio.gather(*send(batcher, "shared", "a", "b"))
    await settled()
    held = send(batcher, "held", "c")
    await settled()
    for owner in ("a", "b"):
        await asyncio.wait_for(asyncio.gather(*send(batcher, "clip", owner)), 10)
    assert model.ran == [("last", "shared", "shared"), ("last", "held"), ("first", "clip"), ("first", "clip")]
    model.may_go.set()
    await asyncio.gather(*held)
    await settled()
    assert (batcher._queues, batcher._running.total(), batcher._batches) == ({}, 0, set())
