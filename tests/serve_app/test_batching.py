"""Batches: bounded, of equal keys, oldest first; nobody waits for ever and nobody gets another's result."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, field

import pytest

from serve_app.batching import Batcher, Timed, threaded


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
            raise RuntimeError("the model broke")
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


async def test_each_is_told_how_long_it_waited_and_how_long_its_batch_took(model: Model) -> None:
    batcher, sent = Batcher(threaded(model.run, 1), 4), time.perf_counter()
    first = await held(model, batcher)
    begun = time.perf_counter()
    (second,) = send(batcher, "a", [1])
    await asyncio.sleep(0)
    waiting = time.perf_counter()
    await asyncio.sleep(0.05)  # the time that the first batch takes
    ending = time.perf_counter()
    model.may_go.set()
    one, two = await asyncio.gather(first, second)
    assert one.queue_s <= begun - sent
    assert one.model_s >= ending - begun
    assert two.queue_s >= ending - waiting
    assert two.model_s <= time.perf_counter() - ending


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


@pytest.mark.parametrize("key", ["a", "broken"])
async def test_a_caller_cancelled_inside_a_batch_does_not_keep_the_others_of_it_waiting(model: Model, key: str) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    gone, stays = send(batcher, key, [1, 2])
    await model.is_busy()
    gone.cancel()
    await asyncio.wait([gone])
    model.may_go.set()
    await asyncio.wait([stays], timeout=10)
    assert model.batches == [(key, [1, 2])]
    assert isinstance(stays.exception(), RuntimeError) if key == "broken" else stays.result().result == 4


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


@pytest.mark.parametrize(
    ("key", "error", "said"), [("broken", RuntimeError, "the model broke"), ("short", ValueError, "zip")]
)
async def test_a_failure_reaches_every_caller_of_its_batch_and_the_next_works(
    model: Model, key: str, error: type[Exception], said: str
) -> None:
    batcher = Batcher(threaded(model.run, 1), 4)
    first = await held(model, batcher)
    lost, good = send(batcher, key, [1, 2, 3]), send(batcher, "a", [4])
    await asyncio.sleep(0)
    model.may_go.set()
    outcomes = await asyncio.wait_for(asyncio.gather(*lost, return_exceptions=True), 10)
    assert all(isinstance(outcome, error) and said in str(outcome) for outcome in outcomes)
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


async def test_a_batch_beside_another_is_as_small_as_told_and_counts_as_full(model: Model) -> None:
    batcher = Batcher(threaded(model.run, 2), 4, beside=2)
    long = [asyncio.create_task(batcher.submit("a", item, "long")) for item in range(4)]
    await model.is_busy()
    short = [asyncio.create_task(batcher.submit("a", 10 + item, "short")) for item in range(3)]
    await asyncio.sleep(0)
    model.may_go.set()
    timed = await asyncio.wait_for(asyncio.gather(*long, *short), 10)
    assert sorted(model.batches) == [("a", [0, 1, 2, 3]), ("a", [10, 11]), ("a", [12])]
    assert [each.full for each in timed[:6]] == [True] * 6
