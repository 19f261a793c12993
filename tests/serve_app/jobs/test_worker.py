"""The worker over fake presets: how jobs end, what is tried again, what others get, what is swept."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fakes import FakePresets, segment

from serve_app.errors import JobsUnavailable, NotAudio, PresetUnavailable, StageFailed, UnknownJob
from serve_app.events import Done, Event, Progress
from serve_app.jobs import worker as module
from serve_app.jobs.args import JobsArgs
from serve_app.jobs.desk import Desk, Order
from serve_app.jobs.job import Job
from serve_app.jobs.steps import Step
from serve_app.jobs.store import JobStore
from serve_app.jobs.uploads import Uploads
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.presets import PresetStatus
from serve_app.transcript import Transcript

TRANSCRIPT = Transcript("en", 4.2, (segment("Hello there.", 0, 2),), timings={"total": 0.5})
HALF = Progress(heard_s=4.2, windows=2, transcribed=1, aligned=1, all_heard=True)


@dataclass
class Gated(FakePresets):
    """Presets that tell of half the work, then wait for `go`; `failures` are raised by the next calls, None passes."""

    transcript: Transcript = TRANSCRIPT
    failures: list[Exception | None] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        assert isinstance(upload, Path)
        self.asked.append((preset, upload.read_bytes(), options))
        try:
            yield HALF
            if self.failures and (failure := self.failures.pop(0)):
                raise failure
            await self.go.wait()
            yield Done(self.transcript)
        finally:
            self.ended += 1


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_S", "BEAT_S", "SWEEP_S", "NOT_READY_S", "FIRST_PAUSE_S", "UNWRITTEN_S"):
        monkeypatch.setattr(module, name, 0.01)


@pytest.fixture
def presets() -> Gated:
    return Gated()


class Office:
    """Desks over the same store, as several gateways have them."""

    def __init__(self, folder: Path, opened: Callable[[], JobStore], presets: Gated, **args: Any) -> None:
        self.folder, self.presets = folder, presets
        self.args = JobsArgs(folder=str(folder), **args)
        self._opened = opened
        self.store = opened()

    def desk(self) -> Desk:
        return Desk(self._opened(), Uploads(self.folder), self.presets, self.args)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        desk = self.desk()
        async with desk.working():
            yield desk

    async def until(self, job_id: str, reached: Callable[[Job], bool]) -> Job:
        await until(lambda: reached(self.store.get(job_id)))
        return self.store.get(job_id)


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what other processes may have done: nobody tells of it."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
def offices(tmp_path: Path, opened: Callable[[], JobStore], presets: Gated) -> Callable[..., Office]:
    """Make an office with given settings; tests walk SQLite and Redis."""
    return lambda **args: Office(tmp_path, opened, presets, **args)


@pytest.fixture
def office(offices: Callable[..., Office]) -> Office:
    return offices()


async def submit(desk: Desk, content: bytes = b"sound", **order: Any) -> Job:
    return (await desk.submit(BytesIO(content), Order("fast", RequestOptions(), **order)))[0]


def state(*names: str) -> Callable[[Job], bool]:
    return lambda job: job.state in names


async def test_a_job_runs_and_its_result_can_be_had(office: Office, presets: Gated) -> None:
    async with office.open() as desk:
        first = await submit(desk)
        assert (first.state, first.progress) == ("queued", 0)
        running = await office.until(first.id, lambda job: job.progress > 0)
        assert (running.state, running.progress, running.stages, running.attempts) == ("running", 0.5, HALF, 1)
        presets.go.set()
        ended = await office.until(first.id, state("succeeded"))
        assert await desk.result(ended) == TRANSCRIPT
    assert (ended.progress, ended.due_at, ended.error) == (1.0, None, None)
    assert ended.started_at
    assert ended.finished_at
    assert ended.created_at <= ended.started_at <= ended.finished_at
    assert presets.asked == [("fast", b"sound", RequestOptions())]


async def test_a_file_that_cannot_be_heard_fails_at_once_with_the_error_of_the_api(
    office: Office, presets: Gated
) -> None:
    presets.failures = [NotAudio("this is no audio", "file")]
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("failed"))
    assert ended.error == NotAudio("this is no audio", "file").described()
    assert (ended.attempts, len(presets.asked)) == (1, 1)


@pytest.mark.parametrize("failure", [StageFailed("it broke"), PresetUnavailable("full"), KeyError("unforeseen")])
async def test_what_may_be_the_services_fault_is_tried_again(
    office: Office, presets: Gated, failure: Exception
) -> None:
    presets.failures = [failure, failure]
    presets.go.set()
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("succeeded", "failed"))
    assert (ended.state, ended.attempts) == ("succeeded", 3)


async def test_and_fails_in_the_end(offices: Callable[..., Office], presets: Gated) -> None:
    office = offices(attempts=2)
    presets.failures = [StageFailed("first"), StageFailed("second")]
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("failed"))
    assert ended.error
    assert (ended.attempts, ended.error["message"], ended.error["code"]) == (2, "second", "stage_failed")


async def test_an_unforeseen_error_tells_no_internals(offices: Callable[..., Office], presets: Gated) -> None:
    office = offices(attempts=1)
    presets.failures = [KeyError("/secret/path")]
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("failed"))
    assert ended.error
    assert "secret" not in ended.error["message"]


async def test_a_preset_that_starts_is_waited_for_and_that_is_no_attempt(office: Office, presets: Gated) -> None:
    presets.states = {"fast": PresetStatus("starting")}
    presets.go.set()
    looks = 0

    async def status() -> dict[str, PresetStatus]:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise ConnectionError("the controller is not there")
        return {"fast": PresetStatus("ready" if looks > 4 else "starting")}

    presets.status = status  # type: ignore[method-assign]
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("succeeded"))
    assert (looks, ended.attempts, len(presets.asked)) == (5, 1, 1)


async def test_a_preset_that_is_offered_no_more_fails_the_job(offices: Callable[..., Office], presets: Gated) -> None:
    office = offices(attempts=1)
    presets.names = ["other"]
    async with office.open() as desk:
        ended = await office.until((await submit(desk)).id, state("failed"))
    assert ended.error
    assert "not offered any more" in ended.error["message"]


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_running_job_is_stopped_and_another_takes_its_place(
    offices: Callable[..., Office], presets: Gated, how: str
) -> None:
    office = offices(at_once=1)
    async with office.open() as desk:
        first, second = await submit(desk), await submit(desk, b"other")
        await office.until(first.id, state("running"))
        assert (await desk.get(second.id)).state == "queued"
        await getattr(desk, how)(first.id)
        await office.until(second.id, state("running"))
        assert presets.ended == 1
        presets.go.set()
        await office.until(second.id, state("succeeded"))
        if how == "delete":
            with pytest.raises(UnknownJob):
                await desk.get(first.id)
        else:
            assert (await desk.get(first.id)).state == "cancelled"


async def test_as_many_run_at_once_as_told(offices: Callable[..., Office], presets: Gated) -> None:
    office = offices(at_once=2)
    async with office.open() as desk:
        jobs = [await submit(desk, bytes([n])) for n in range(4)]
        for each in jobs[:2]:
            await office.until(each.id, lambda job: job.progress > 0)
        assert [(await desk.get(each.id)).state for each in jobs] == ["running", "running", "queued", "queued"]
        presets.go.set()
        for each in jobs:
            await office.until(each.id, state("succeeded"))


async def test_two_gateways_never_run_one_job(office: Office, presets: Gated) -> None:
    presets.go.set()
    async with office.open() as one, office.open() as other:
        jobs = [await submit(desk, bytes([n])) for n in range(20) for desk in (one, other)]
        for each in jobs:
            await office.until(each.id, state("succeeded"))
    assert sorted(content for _, content, _ in presets.asked) == sorted(bytes([n]) for n in range(20))


async def test_a_gateway_that_is_stopped_leaves_its_job_to_the_others_at_once(office: Office, presets: Gated) -> None:
    async with office.open() as first_desk:
        first = await submit(first_desk)
        await office.until(first.id, lambda job: job.progress > 0)
    assert (office.store.get(first.id).state, office.store.get(first.id).attempts) == ("queued", 0)
    presets.go.set()
    async with office.open():
        ended = await office.until(first.id, state("succeeded"))
    assert (ended.attempts, presets.ended) == (1, 2)


async def test_a_job_whose_gateway_was_killed_is_taken_again_once_its_lease_has_lapsed(
    offices: Callable[..., Office], presets: Gated
) -> None:
    office = offices()
    desk = office.desk()
    first = await submit(desk)
    dead = office.store.take(time.time(), module.taken("dead", time.time(), 0.2, 5))
    assert dead
    presets.go.set()
    async with office.open():
        ended = await office.until(first.id, state("succeeded"))
    assert ended.attempts == 2
    assert ended.finished_at
    assert dead.due_at
    assert ended.finished_at >= dead.due_at


async def test_the_same_work_for_another_is_not_done_again(office: Office, presets: Gated) -> None:
    presets.go.set()
    async with office.open() as desk:
        first = await office.until((await submit(desk)).id, state("succeeded"))
        same = await submit(desk)
        assert same == first
        other = await submit(desk, metadata={"for": "somebody else"})
        assert other.id != first.id
        ended = await office.until(other.id, state("succeeded"))
        assert await desk.result(ended) == TRANSCRIPT
        assert len(presets.asked) == 1
        alone = await submit(desk, alone=True)
        await office.until(alone.id, state("succeeded"))
    assert len(presets.asked) == 2


async def test_what_was_done_is_written_down_once_the_store_can(
    office: Office, presets: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office.open() as desk:
        first = await submit(desk)
        await office.until(first.id, lambda job: job.progress > 0)
        monkeypatch.setattr(desk._store, "change", _fails_for(5, desk._store.change))
        presets.go.set()
        ended = await office.until(first.id, state("succeeded"))
    assert (ended.attempts, len(presets.asked)) == (1, 1)


async def test_a_worker_whose_store_fails_goes_on_once_it_can(
    office: Office, presets: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets.go.set()
    async with office.open() as desk:
        monkeypatch.setattr(desk._store, "take", _fails_for(3, desk._store.take))
        first = await submit(desk)
        await office.until(first.id, state("succeeded"))


async def test_a_job_that_cannot_be_ended_stops_no_other(
    office: Office, presets: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets.failures = [StageFailed("it broke")]
    presets.go.set()
    async with office.open() as desk:
        change = desk._store.change

        def never_put_back(job_id: str, step: Step, result: str | None = None) -> Job:
            if "put_back" in step.__qualname__:
                raise ZeroDivisionError
            return change(job_id, step, result)

        monkeypatch.setattr(desk._store, "change", never_put_back)
        first = await submit(desk)
        other = await submit(desk, b"other")
        await office.until(other.id, state("succeeded"))
        assert office.store.get(first.id).state == "running"


def _fails_for(times: int, change: Callable[..., Any]) -> Callable[..., Any]:
    left = times

    def failing(*given: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise JobsUnavailable("the disk is full")
        return change(*given)

    return failing


async def test_what_is_over_is_forgotten_and_its_file_removed(
    offices: Callable[..., Office], presets: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = offices(retention_s=0.05)
    async with office.open() as desk:
        first = await submit(desk)
        await office.until(first.id, lambda job: job.progress > 0)
        upload = office.folder / "uploads" / first.upload
        assert upload.is_file()
        monkeypatch.setattr("serve_app.jobs.uploads.UNCLAIMED_S", 0.0)  # it would be kept a minute
        presets.go.set()
        await until(lambda: not desk._store.page(1))
        await until(lambda: not upload.exists())
        with pytest.raises(UnknownJob):
            await desk.get(first.id)
