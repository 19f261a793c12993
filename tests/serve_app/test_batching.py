"""Batches: bounded, of equal keys, oldest first; nobody waits for ever and nobody gets another's result."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, field

import pytest

from serve_app.batching import Batcher, Timed, threaded
from serve_app.priorities import BACKGROUND


@dataclass
class Model:
    """Doubles numbers; a held model stays in its batch until it is let go."""

    batches: list[tuple[Hashable, list[int]]] = field(default_factory=list)
    may_go: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)

    def run(self, key: Hashable, items: Sequence[int]) -> list[int]:
        self.batches.append((key, list(items)))
        self.busy.set()
        if not self.may_go.wait(10):
            raise TimeoutError
        if key == "broken":
            raise ValueError("the model broke")
        if key == "short":
            return [2 * item for item in items][:-1]
        return [2 * item for item in items]

    async def is_busy(self) -> None:
        assert await asyncio.to_thread(self.busy.wait, 10)

    @property
    def items(self) -> list[int]:
        return [item for _, items in self.batches for item in items]


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = Model()
    yield model
    model.may_go.set()


async def held(model: Model, batcher: Batcher[int, int], key: str = "a") -> asyncio.Task[Timed[int]]:
    """Send item 0 and wait until the model holds it, so that whatever is sent next has to wait."""
    first = asyncio.create_task(batcher.submit(key, 0))
    await model.is_busy()
    return first


def send(batcher: Batcher[int, int], key: str, items: Sequence[int]) -> list[asyncio.Task[Timed[int]]]:
    return [asyncio.create_task(batcher.submit(key, item)) for item in items]


async def results(tasks: Sequence[asyncio.Task[Timed[int]]]) -> list[int]:
    return [timed.result for timed in await asyncio.wait_for(asyncio.gather(*tasks), 10)]


async def test_an_idle_model_starts_at_once(model: Model) -> None:
    model.may_go.set()
    timed = await Batcher(threaded(model.run, 1), 4).submit("a", 21)
    assert timed.result == 42
    assert timed.queue_s >= 0
    assert timed.model_s >= 0


async def test_everybody_gets_their_own_result(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    tasks = [await held(model, batcher), *send(batcher, "a", range(1, 20))]
    model.may_go.set()
    assert await results(tasks) == [2 * item for item in range(20)]


async def test_each_is_told_whether_its_batch_was_full(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 2)
    tasks = [await held(model, batcher), *send(batcher, "a", range(1, 4))]
    model.may_go.set()
    assert [timed.full for timed in await asyncio.gather(*tasks)] == [False, True, True, False]


async def test_what_waits_is_decoded_together_up_to_the_bound(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    tasks = [await held(model, batcher), *send(batcher, "a", range(1, 11))]
    await asyncio.sleep(0)
    model.may_go.set()
    await results(tasks)
    assert [items for _, items in model.batches] == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


async def test_only_equal_keys_share_a_batch_and_the_oldest_goes_first(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 8)
    tasks = [await held(model, batcher)]
    for key, item in (("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5)):
        tasks += send(batcher, key, [item])
    await asyncio.sleep(0)
    model.may_go.set()
    assert await results(tasks) == [0, 2, 4, 6, 8, 10]
    assert model.batches[1:] == [("a", [1, 3]), ("b", [2, 5]), ("c", [4])]


async def test_a_busy_key_does_not_starve_another() -> None:
    """One caller of key b waits while key a is sent without end: it goes ahead of every a that came later."""
    order: list[Hashable] = []
    more: list[asyncio.Task[Timed[int]]] = []
    loop = asyncio.get_running_loop()

    def run(key: Hashable, items: Sequence[int]) -> Sequence[int]:
        order.append(key)
        if len(order) < 50 and "b" not in order:
            asyncio.run_coroutine_threadsafe(refill(), loop).result(10)
        return items

    batcher: Batcher[int, int] = Batcher(threaded(run, 1), 2)

    async def refill() -> None:
        more.extend(send(batcher, "a", [1, 2, 3]))
        await asyncio.sleep(0)

    first, lonely = send(batcher, "a", [0, 0]), send(batcher, "b", [7])
    assert await results(lonely) == [7]
    await results([*first, *more])
    assert order.index("b") <= 2


async def test_a_cancelled_caller_is_dropped_before_the_model(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    first = await held(model, batcher)
    gone, *stay = send(batcher, "a", [1, 2, 3])
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    model.may_go.set()
    assert await results([first, *stay]) == [0, 4, 6]
    assert model.items == [0, 2, 3]


async def test_a_caller_cancelled_inside_a_batch_leaves_the_others_theirs(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    gone = await held(model, batcher)
    (waiting,) = send(batcher, "a", [1])
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    model.may_go.set()
    assert gone.cancelled()
    assert await results([waiting]) == [2]


async def test_when_all_callers_are_gone_the_model_is_left_alone(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    first = await held(model, batcher)
    gone = send(batcher, "a", [1, 2])
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    model.may_go.set()
    await results([first])
    assert await results(send(batcher, "a", [9])) == [18]
    assert model.items == [0, 9]


@pytest.mark.parametrize(("key", "error"), [("broken", "the model broke"), ("short", "zip")])
async def test_a_failure_reaches_every_caller_of_its_batch_and_the_next_works(
    model: Model, key: str, error: str
) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    first = await held(model, batcher)
    lost, good = send(batcher, key, [1, 2, 3]), send(batcher, "a", [4])
    await asyncio.sleep(0)
    model.may_go.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*lost, return_exceptions=True), 10)
    assert all(isinstance(outcome, ValueError) and error in str(outcome) for outcome in outcomes)
    assert await results([first, *good]) == [0, 8]


async def test_the_model_runs_one_batch_at_a_time() -> None:
    lock, overlaps = threading.Lock(), []

    def run(key: Hashable, items: Sequence[int]) -> Sequence[int]:
        overlaps.append(not lock.acquire(blocking=False))
        lock.release()
        return items

    batcher: Batcher[int, int] = Batcher(threaded(run, 1), 2)
    await results([task for key in "abc" for task in send(batcher, key, range(6))])
    assert overlaps == [False] * 9


async def test_owners_take_turns_however_much_one_of_them_has_waiting(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    tasks = [asyncio.create_task(batcher.submit("a", 0, "long"))]
    await model.is_busy()
    tasks += [asyncio.create_task(batcher.submit("a", item, "long")) for item in range(1, 13)]
    tasks += [asyncio.create_task(batcher.submit("a", 100 + item, "short")) for item in range(2)]
    tasks += [asyncio.create_task(batcher.submit("b", 200, "other"))]
    await asyncio.sleep(0)
    model.may_go.set()
    assert len(await results(tasks)) == 16
    assert sorted(model.batches[1][1]) == [1, 2, 100, 101]
    assert ("b", [200]) in model.batches[1:4]
    assert [item for item in model.items if item < 100] == list(range(13))


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
    assert await results(tasks) == list(range(100))
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
