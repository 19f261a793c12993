"""Runs jobs: takes what is due, tells how far it is, ends it. Any number of workers may hold the same store."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from serve_app.errors import JobsUnavailable, PresetUnavailable, RayscribeError, StageFailed, UnknownJob
from serve_app.events import Done, Progress
from serve_app.jobs.args import JobsArgs
from serve_app.jobs.job import Job, transcript_to_json
from serve_app.jobs.steps import JobLost, Step, beaten, failed, put_back, succeeded, taken
from serve_app.jobs.store import JobStore
from serve_app.jobs.uploads import Uploads
from serve_app.jobs.webhooks import Webhooks
from serve_app.presets import Presets

POLL_S = 1.0
"""How often a worker looks for jobs and webhooks that another process knows of."""
BEAT_S = 1.0
"""How often a running job's progress is written; a cancelled one is noticed as soon."""
SWEEP_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0
"""After an attempt that failed; four times as long each time: a service that is too busy may be so for a while."""
UNWRITTEN_S = 5.0
"""How often the end of a job is tried to be written."""
NOT_READY_S = 5.0
"""A job whose preset is starting looks again so often, and that is no attempt."""

logger = logging.getLogger("ray.serve.rayscribe")


class Worker:
    """Takes up to `at_once` jobs; `run` it until it is cancelled: its jobs are then free for others at once."""

    def __init__(
        self, store: JobStore, uploads: Uploads, presets: Presets, args: JobsArgs, webhooks: Webhooks | None = None
    ) -> None:
        self._store, self._uploads, self._presets, self._args = store, uploads, presets, args
        self._webhooks = webhooks
        self._more = asyncio.Event()
        self._places = asyncio.Semaphore(args.at_once)

    def wake(self) -> None:
        """Say that there is something to do."""
        self._more.set()

    async def run(self) -> None:
        """Work until cancelled; what goes wrong is logged, and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_for_ever("taking jobs", partial(self._take, group), self._idle))
            if self._webhooks:
                group.create_task(_for_ever("webhooks", self._webhooks.call_due, partial(asyncio.sleep, POLL_S)))
            group.create_task(_for_ever("sweeping", self.sweep, partial(asyncio.sleep, SWEEP_S)))

    async def sweep(self) -> None:
        """Forget the jobs whose retention is over, and remove the uploads that no job needs."""
        for job_id in await asyncio.to_thread(self._store.finished_before, time.time() - self._args.retention_s):
            with suppress(UnknownJob):  # another worker was quicker
                await asyncio.to_thread(self._store.remove, job_id)
        await asyncio.to_thread(self._uploads.sweep, self._store.in_use)

    async def _idle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._more.wait()
        self._more.clear()

    async def _take(self, group: asyncio.TaskGroup) -> int:
        """Begin what is due, as far as there are places; returns how many jobs."""
        count = 0
        while True:
            await self._places.acquire()
            job = None
            try:
                job = await asyncio.to_thread(self._taken)
            finally:
                if job is None or job.finished:
                    self._places.release()
            if job is None:
                return count
            if not job.finished:
                group.create_task(self._in_its_place(job))
            count += 1

    def _taken(self) -> Job | None:
        now = time.time()
        return self._store.take(now, taken(uuid.uuid4().hex, now, self._args.lease_s, self._args.attempts))

    async def _in_its_place(self, job: Job) -> None:
        try:
            await self._work(job)
        except (JobLost, UnknownJob):
            logger.info("job %s was cancelled, deleted or taken by another worker", job.id)
        except Exception:
            logger.exception("job %s has no end; it is begun again once its lease has lapsed", job.id)
        finally:
            self._places.release()

    async def _work(self, job: Job) -> None:
        worker = job.worker or ""
        try:
            if result := await self._result(job):
                await self._change(job, succeeded(worker, time.time(), result.stages), result.text)
            else:
                await self._change(job, put_back(worker, time.time() + NOT_READY_S, counted=False))
        except asyncio.CancelledError:
            with suppress(RayscribeError, JobLost):  # the service is being stopped: no time to wait for a thread
                self._store.change(job.id, put_back(worker, time.time(), counted=False))
            raise
        except (JobLost, UnknownJob):
            raise
        except RayscribeError as error:
            await self._failed(job, error)
        except Exception as error:
            logger.exception("job %s: unforeseen error", job.id)
            await self._failed(job, StageFailed(f"{type(error).__name__}; the service's log has the details"))

    async def _failed(self, job: Job, error: RayscribeError) -> None:
        """End a job that cannot be done, or try again what may be the service's fault."""
        now, worker = time.time(), job.worker or ""
        if error.status < 500 or job.attempts >= self._args.attempts:
            await self._change(job, failed(worker, now, error.described()))
            return
        pause = min(FIRST_PAUSE_S * 4 ** (job.attempts - 1), LONGEST_PAUSE_S)
        logger.warning("job %s failed (%s); again in %g s", job.id, error, pause)
        await self._change(job, put_back(worker, now + pause, counted=True))

    async def _change(self, job: Job, step: Step, result: str | None = None) -> None:
        """Write the end of an attempt down, as soon as the store can: no full disk is to cost the work of hours."""
        while True:
            try:
                await asyncio.to_thread(self._store.change, job.id, step, result)
                return
            except JobsUnavailable as error:
                logger.error("job %s waits to be written down: %s", job.id, error)
                await asyncio.sleep(UNWRITTEN_S)

    async def _result(self, job: Job) -> "_Result | None":
        """Return what was found out, or another job did where it was about the same; None: the preset is not ready."""
        if same := await asyncio.to_thread(self._store.same_content, job.content):
            return _Result(same)
        if not await self._ready(job.preset):
            return None
        beat = _Beat(self._store, job, self._args.lease_s)
        return await _whichever_ends(beat.run(), self._transcribed(job, beat))

    async def _ready(self, preset: str) -> bool:
        if preset not in self._presets.names:
            raise PresetUnavailable(f"preset '{preset}' is not offered any more; submit the file for another one")
        try:
            return (await self._presets.status())[preset].state in ("ready", "asleep")
        except Exception as error:  # noqa: BLE001 - it is Ray's, of any kind
            logger.warning("the state of preset '%s' is not known just now: %s", preset, error)
            return False

    async def _transcribed(self, job: Job, beat: "_Beat") -> "_Result":
        upload = await asyncio.to_thread(self._uploads.path, job.upload)
        async with aclosing(self._presets.stream(job.preset, upload, job.options)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    beat.stages = event
                elif isinstance(event, Done):
                    return _Result(await asyncio.to_thread(transcript_to_json, event.transcript), beat.stages)
        raise StageFailed(f"preset '{job.preset}' ended without a result")


@dataclass(frozen=True, slots=True)
class _Result:
    """A transcript as JSON, and how much work it was; None: none."""

    text: str
    stages: Progress | None = None


class _Beat:
    """Extends a job's lease and writes its progress; raises JobLost once the job is not ours any more."""

    def __init__(self, store: JobStore, job: Job, lease_s: float) -> None:
        self.stages = Progress()
        self._store, self._job, self._lease_s = store, job, lease_s

    async def run(self) -> _Result:
        """Beat until cancelled."""
        until = time.monotonic() + self._lease_s
        while True:
            await asyncio.sleep(min(BEAT_S, self._lease_s / 4))
            step = beaten(self._job.worker or "", time.time(), self._lease_s, self.stages)
            try:
                await asyncio.to_thread(self._store.change, self._job.id, step)
                until = time.monotonic() + self._lease_s
            except JobsUnavailable:
                if time.monotonic() > until:  # another worker may have the job by now
                    raise


async def _whichever_ends(*coroutines: Coroutine[Any, Any, _Result]) -> _Result:
    """Return or raise as the first that ends does, and end the others."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _for_ever(what: str, do: Callable[[], Awaitable[Any]], idle: Callable[[], Awaitable[Any]]) -> None:
    """Do something again and again; what goes wrong is logged once, until it goes well again."""
    said = ""
    while True:
        try:
            await do()
            said = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may go well
            if str(error) != said:
                logger.error("%s failed, and will be tried again: %s", what, error)
            said = str(error)
        await idle()
