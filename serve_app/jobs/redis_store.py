"""Jobs in Redis: for the processes of several nodes, which share the folder of uploads too.

Every change is a transaction that is made again when somebody else has changed the job meanwhile (WATCH).
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import redis

from serve_app.errors import JobsUnavailable, UnknownJob
from serve_app.jobs.job import REUSED, Job, State
from serve_app.jobs.sqlite_store import unwritable
from serve_app.jobs.steps import Step
from serve_app.jobs.store import for_key, unknown

T = TypeVar("T")
PREFIX = "rayscribe:jobs:"
PATIENCE_S = 5.0
"""How long Redis may take to answer."""


class RedisStore:
    """A `JobStore` in Redis; connects when it is first needed. `folder` must be the same for all who use it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._where, self._folder, self._same = _without_password(url), folder, False
        self._client: Any = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
        )

    def submit(self, job: Job, key: str | None = None, *, reuse: bool = True) -> Job:
        """Add a job, or return the one that answers for it."""
        asked, same = f"{PREFIX}key:{key}", f"{PREFIX}request:{job.request}"

        def work(pipe: Any) -> Job:
            if key and (known := pipe.get(asked)):
                return for_key(key, self._read(str(known)), job)
            newest = pipe.zrevrangebylex(same, "+", "-", 0, 1) if reuse else []
            answer = self._read(newest[0]) if newest else job
            pipe.multi()
            if not newest:
                _write(pipe, None, job)
            if key:
                pipe.set(asked, answer.id)
                pipe.sadd(f"{PREFIX}keys_of:{answer.id}", key)
            return answer

        return self._transaction(work, asked, same)

    def get(self, job_id: str) -> Job:
        """Return one job."""
        with self._told_in_our_words():
            return self._read(job_id)

    def page(self, limit: int, after: str | None = None, state: State | None = None) -> Sequence[Job]:
        """Return jobs, newest first."""
        index = f"{PREFIX}state:{state}" if state else f"{PREFIX}all"
        with self._told_in_our_words():
            ids = self._client.zrevrangebylex(index, f"({after}" if after else "+", "-", 0, limit)
            texts = self._client.mget([_row(each) for each in ids]) if ids else []
        return [Job.model_validate_json(text) for text in texts if text]

    def change(self, job_id: str, step: Step, result: str | None = None) -> Job:
        """Apply a step."""

        def work(pipe: Any) -> Job:
            before = _known(pipe.get(_row(job_id)), job_id)
            after = step(before)
            pipe.multi()
            _write(pipe, before, after)
            if result is not None:
                pipe.set(f"{PREFIX}result:{job_id}", result)
            return after

        return self._transaction(work, _row(job_id))

    def take(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job that is due."""
        return self._take("due", now, step)

    def take_webhook(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job whose webhook is due."""
        return self._take("webhook_due", now, step)

    def _take(self, index: str, now: float, step: Step) -> Job | None:
        def still_due(job: Job) -> Job:
            at = _indexes(job).get(index)
            if at is None or at > now:
                raise _Taken
            return step(job)

        while True:
            with self._told_in_our_words():
                due = self._client.zrangebyscore(PREFIX + index, "-inf", now, 0, 1)
            if not due:
                return None
            with suppress(_Taken, UnknownJob):  # another was quicker
                return self.change(due[0], still_due)

    def result(self, job_id: str) -> str | None:
        """Return a result."""
        with self._told_in_our_words():
            self._read(job_id)
            text: str | None = self._client.get(f"{PREFIX}result:{job_id}")
            return text

    def same_content(self, content: str) -> str | None:
        """Return the result of the same work."""
        with self._told_in_our_words():
            ids = self._client.zrevrangebylex(f"{PREFIX}content:{content}", "+", "-", 0, 1)
            text: str | None = self._client.get(f"{PREFIX}result:{ids[0]}") if ids else None
            return text

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        keys_of = f"{PREFIX}keys_of:{job_id}"

        def work(pipe: Any) -> None:
            job = _known(pipe.get(_row(job_id)), job_id)
            keys = pipe.smembers(keys_of)
            pipe.multi()
            for index in _indexes(job):
                pipe.zrem(PREFIX + index, job_id)
            pipe.delete(_row(job_id), f"{PREFIX}result:{job_id}", keys_of, *(f"{PREFIX}key:{key}" for key in keys))

        self._transaction(work, _row(job_id), keys_of)

    def finished_before(self, then: float) -> Sequence[str]:
        """Return jobs whose time is over."""
        with self._told_in_our_words():
            return list(self._client.zrangebyscore(f"{PREFIX}finished", "-inf", then))

    def in_use(self, upload: str) -> bool:
        """Whether an upload is needed."""
        with self._told_in_our_words():
            return bool(self._client.exists(f"{PREFIX}upload:{upload}"))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _read(self, job_id: str) -> Job:
        return _known(self._client.get(_row(job_id)), job_id)

    def _transaction(self, work: Callable[[Any], T], *watched: str) -> T:
        """Do something on keys that nobody else changes; `work` reads, calls `multi`, and writes."""
        with self._told_in_our_words(), self._client.pipeline() as pipe:
            while True:
                with suppress(redis.WatchError):
                    pipe.watch(*watched)
                    done = work(pipe)
                    pipe.execute()
                    return done

    @contextmanager
    def _told_in_our_words(self) -> Iterator[None]:
        try:
            if not self._same:
                self._check_folder()
                self._same = True
            yield
        except redis.RedisError as error:
            message = f"the broker of jobs at {self._where} does not answer: {error}; see that it runs"
            raise JobsUnavailable(message) from error

    def _check_folder(self) -> None:
        """Raise where this node's folder is another one than that of those who came before."""
        mine = _mark(self._folder)
        self._client.set(f"{PREFIX}folder", mine, nx=True)
        if self._client.get(f"{PREFIX}folder") != mine:
            raise JobsUnavailable(
                f"{self._folder} is not the folder that others use with {self._where}: set jobs.folder to a place that "
                f"all nodes share; if it was given up for good, delete the key {PREFIX}folder"
            )


class _Taken(Exception):
    """Somebody else was quicker."""


def _row(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _known(text: Any, job_id: str) -> Job:
    if text is None:
        raise unknown(job_id)
    return Job.model_validate_json(text)


def _write(pipe: Any, before: Job | None, job: Job) -> None:
    new = _indexes(job)
    for index in _indexes(before).keys() - new.keys() if before else ():
        pipe.zrem(PREFIX + index, job.id)
    for index, score in new.items():
        pipe.zadd(PREFIX + index, {job.id: score})
    pipe.set(_row(job.id), job.model_dump_json())


def _indexes(job: Job) -> dict[str, float]:
    """Return the sorted sets that a job is in, and its score there."""
    found: dict[str, float | None] = {
        "all": 0,
        f"state:{job.state}": 0,
        "due": job.due_at,
        "webhook_due": job.webhook.due_at if job.webhook else None,
        "finished": job.finished_at,
        f"request:{job.request}": 0 if job.state in REUSED else None,
        f"content:{job.content}": 0 if job.state == "succeeded" else None,
        f"upload:{job.upload}": None if job.finished else 0,
    }
    return {name: score for name, score in found.items() if score is not None}


def _mark(folder: Path) -> str:
    """Return what tells this folder from any other; written by whoever comes first."""
    mark, own = folder / "mark", folder / f"mark-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            own.write_text(uuid.uuid4().hex)
            with suppress(FileExistsError):
                os.link(own, mark)
            own.unlink()
        return mark.read_text()
    except OSError as error:
        raise unwritable(folder, error) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
