"""What every store of jobs does, SQLite and Redis alike: kept, found again, each job one worker's."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from job_helpers import HOOK, NOW, job

from serve_app.errors import IdempotencyKeyReused, UnknownJob
from serve_app.events import Progress
from serve_app.jobs.job import Job
from serve_app.jobs.steps import (
    JobLost,
    beaten,
    calling,
    cancelled,
    failed,
    put_back,
    succeeded,
    taken,
    told,
)
from serve_app.jobs.store import JobStore

ERROR = {"message": "it broke", "type": "server_error", "param": None, "code": "stage_failed"}
Opened = Callable[[], JobStore]


def take(store: JobStore, worker: str = "w", now: float = NOW, lease_s: float = 30, attempts: int = 3) -> Job | None:
    return store.take(now, taken(worker, now, lease_s, attempts))


def done(store: JobStore, given: Job, result: str = "{}", now: float = NOW) -> Job:
    store.submit(given, reuse=False)
    running = take(store, now=now)
    assert running
    return store.change(running.id, succeeded("w", now), result)


def test_a_job_is_found_again_by_who_opens_the_store_anew(opened: Opened) -> None:
    first = job(metadata={"a": "b"}, webhook=HOOK)
    assert opened().submit(first) == first
    assert opened().get(first.id) == first


def test_an_unknown_job_is_said_to_be_unknown(store: JobStore) -> None:
    for ask in (store.get, store.result, store.remove, lambda id: store.change(id, cancelled(NOW))):
        with pytest.raises(UnknownJob, match="no job has the id 'job_0'"):
            ask("job_0")


def test_what_is_asked_for_again_is_the_same_job_while_it_is_of_use(store: JobStore) -> None:
    first = store.submit(job())
    assert store.submit(job()).id == first.id
    assert store.submit(job("other", NOW + 1)).id != first.id
    assert take(store)
    assert store.submit(job()).id == first.id
    store.change(first.id, succeeded("w", NOW), "{}")
    assert store.submit(job()).id == first.id
    assert store.submit(job(), reuse=False).id != first.id


@pytest.mark.parametrize("end", [cancelled(NOW), failed("w", NOW, ERROR)])
def test_what_came_to_nothing_is_done_anew(store: JobStore, end: Callable[[Job], Job]) -> None:
    first = store.submit(job())
    assert take(store)
    store.change(first.id, end)
    assert store.submit(job()).id != first.id


def test_an_idempotency_key_is_one_job_whatever_became_of_it(store: JobStore) -> None:
    first = store.submit(job(), "key")
    store.change(first.id, cancelled(NOW))
    assert store.submit(job(), "key") == store.get(first.id)
    with pytest.raises(IdempotencyKeyReused, match=f"belongs to job '{first.id}'"):
        store.submit(job("other"), "key")
    store.remove(first.id)
    assert store.submit(job("other"), "key").upload == "other"


def test_a_key_may_name_a_job_that_was_there(store: JobStore) -> None:
    first = store.submit(job())
    assert store.submit(job(), "key").id == first.id
    with pytest.raises(IdempotencyKeyReused):
        store.submit(job("other"), "key")


def test_pages_go_from_the_newest_to_the_oldest(store: JobStore) -> None:
    jobs = [store.submit(job(str(n), NOW + n)) for n in range(5)]
    newest = [each.id for each in reversed(jobs)]
    assert [each.id for each in store.page(10)] == newest
    assert [each.id for each in store.page(2)] == newest[:2]
    assert [each.id for each in store.page(2, newest[1])] == newest[2:4]
    assert store.page(2, newest[-1]) == []
    store.change(newest[1], cancelled(NOW))
    assert [each.id for each in store.page(10, state="cancelled")] == [newest[1]]
    assert newest[1] not in [each.id for each in store.page(10, state="queued")]


def test_jobs_are_taken_in_turn_each_once(store: JobStore) -> None:
    first, second = store.submit(job("a", NOW - 2)), store.submit(job("b", NOW - 1))
    assert store.submit(job("later", NOW + 1))
    begun = take(store)
    assert begun
    assert (begun.id, begun.state, begun.attempts, begun.started_at, begun.due_at) == (
        first.id, "running", 1, NOW, NOW + 30,
    )  # fmt: skip
    following = take(store)
    assert following
    assert following.id == second.id
    assert take(store) is None


def test_a_job_whose_worker_is_silent_is_taken_again_and_the_silent_one_has_lost_it(opened: Opened) -> None:
    before = opened()
    first = before.submit(job())
    assert take(before, "dead")
    before.change(first.id, beaten("dead", NOW + 10, 30, Progress(windows=4, transcribed=2, all_heard=True)))
    after = opened()
    assert take(after, "new", NOW + 39) is None
    again = take(after, "new", NOW + 40)
    assert again
    assert (again.id, again.worker, again.attempts, again.stages) == (first.id, "new", 2, Progress())
    for late in (succeeded("dead", NOW), failed("dead", NOW, ERROR), beaten("dead", NOW, 30, Progress())):
        with pytest.raises(JobLost):
            before.change(first.id, late)
    assert after.change(first.id, succeeded("new", NOW + 50), "{}").state == "succeeded"


def test_progress_never_falls(store: JobStore) -> None:
    first = store.submit(job())
    assert take(store, "one")
    shares = []
    for stages in (
        Progress(windows=2, transcribed=2),
        Progress(windows=10, transcribed=2),
        Progress(windows=10, transcribed=9, aligned=9, all_heard=True),
    ):
        shares.append(store.change(first.id, beaten("one", NOW, 30, stages)).progress)
    assert take(store, "two", NOW + 31)
    shares.append(store.change(first.id, beaten("two", NOW, 30, Progress(windows=1))).progress)
    shares.append(store.change(first.id, succeeded("two", NOW), "{}").progress)
    assert shares == pytest.approx([0.25, 0.25, 0.9, 0.9, 1.0])


def test_a_job_whose_workers_die_again_and_again_fails(store: JobStore) -> None:
    first = store.submit(job(webhook=HOOK))
    for attempt in range(2):
        assert take(store, f"{attempt}", NOW + 100 * attempt, attempts=2)
    given_up = take(store, "third", NOW + 300, attempts=2)
    assert given_up
    assert (given_up.state, given_up.attempts, given_up.due_at) == ("failed", 2, None)
    assert given_up.error
    assert "died 2 times" in given_up.error["message"]
    assert store.get(first.id) == given_up
    assert take(store, "fourth", NOW + 900) is None


def test_a_job_put_back_waits_and_its_attempt_may_not_count(store: JobStore) -> None:
    first = store.submit(job())
    assert take(store)
    waiting = store.change(first.id, put_back("w", NOW + 5, counted=True))
    assert (waiting.state, waiting.attempts, waiting.due_at) == ("queued", 1, NOW + 5)
    assert take(store, now=NOW + 4) is None
    assert take(store, now=NOW + 5)
    assert store.change(first.id, put_back("w", NOW, counted=False)).attempts == 1


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_a_job_is_cancelled_unless_it_is_finished(store: JobStore, state: str) -> None:
    first = store.submit(job())
    ends = {"succeeded": succeeded("w", NOW), "failed": failed("w", NOW, ERROR), "cancelled": cancelled(NOW)}
    if state != "queued":
        assert take(store)
    if state in ends:
        before = store.change(first.id, ends[state])
    ended = store.change(first.id, cancelled(NOW + 1))
    if state in ends:
        assert ended == before
        return
    assert (ended.state, ended.finished_at, ended.due_at) == ("cancelled", NOW + 1, None)
    assert take(store, now=NOW + 900) is None
    with pytest.raises(JobLost):
        store.change(first.id, beaten("w", NOW, 30, Progress()))


def test_a_result_is_kept_with_its_job_and_serves_the_same_work(store: JobStore) -> None:
    first = done(store, job(), '{"a": 1}')
    assert store.result(first.id) == '{"a": 1}'
    assert store.same_content(first.content) == '{"a": 1}'
    assert store.same_content("other") is None
    other = store.submit(job("other"))
    assert store.result(other.id) is None
    store.remove(first.id)
    assert store.same_content(first.content) is None


def test_what_is_finished_is_found_by_its_age_and_frees_its_upload(store: JobStore) -> None:
    old, young = done(store, job("old"), now=NOW), done(store, job("young"), now=NOW + 50)
    store.submit(job("new"))
    assert list(store.finished_before(NOW + 10)) == [old.id]
    assert sorted(store.finished_before(NOW + 50)) == sorted([old.id, young.id])
    assert [store.in_use(upload) for upload in ("old", "young", "new", "none")] == [False, False, True, False]


def test_a_step_that_raises_changes_nothing(store: JobStore) -> None:
    first = store.submit(job())

    def broken(before: Job) -> Job:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.change(first.id, broken, "{}")
    with pytest.raises(ZeroDivisionError):
        store.take(NOW, broken)
    assert (store.get(first.id), store.result(first.id)) == (first, None)
    assert take(store)


def test_a_webhook_is_due_once_its_job_is_finished_until_it_is_told(store: JobStore) -> None:
    first = store.submit(job(webhook=HOOK))
    call = calling(NOW, 50)
    assert store.take_webhook(NOW + 9, call) is None
    assert take(store)
    store.change(first.id, succeeded("w", NOW), "{}")
    calls = [store.take_webhook(NOW, call), store.take_webhook(NOW + 49, call), store.take_webhook(NOW + 50, call)]
    assert [each and each.webhook and each.webhook.tries for each in calls] == [1, None, 2]
    later = store.change(first.id, told(NOW, 20, "it answered 500")).webhook
    assert later
    assert (later.state, later.due_at, later.error) == ("pending", NOW + 20, "it answered 500")
    assert store.take_webhook(NOW + 20, call)
    finally_ = store.change(first.id, told(NOW, 20, None)).webhook
    assert finally_
    assert (finally_.state, finally_.due_at, finally_.tries) == ("delivered", None, 3)
    assert store.take_webhook(NOW + 900, call) is None


def test_a_webhook_is_given_up_in_the_end(store: JobStore) -> None:
    first = done(store, job(webhook=HOOK))
    assert store.take_webhook(NOW, calling(NOW, 50))
    hook = store.change(first.id, told(NOW, None, "it answered 500")).webhook
    assert hook
    assert (hook.state, hook.due_at) == ("failed", None)


def test_of_many_workers_each_job_has_one(opened: Opened) -> None:
    first = opened()
    jobs = {first.submit(job(str(n))).id for n in range(40)}
    start = threading.Barrier(4)

    def work(name: int) -> list[str]:
        store, got = opened(), []
        start.wait(10)
        while took := take(store, f"{name}"):
            got.append(took.id)
        return got

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(work, range(4)))
    assert sorted(id for each in got for id in each) == sorted(jobs)
    assert {first.get(id).attempts for id in jobs} == {1}


def test_of_many_that_submit_the_same_at_once_one_makes_the_job(opened: Opened) -> None:
    stores = [opened() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = {each.id for each in pool.map(lambda n: stores[n % 4].submit(job(), f"{n % 2}"), range(40))}
    assert len(ids) == 1
    assert len(stores[0].page(100)) == 1
