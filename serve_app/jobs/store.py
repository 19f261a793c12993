"""Where jobs are kept: what a store must do; see `sqlite_store` for one machine and `redis_store` for several."""

from collections.abc import Sequence
from typing import Protocol

from serve_app.errors import IdempotencyKeyReused, UnknownJob
from serve_app.jobs.job import Job, State
from serve_app.jobs.steps import Step


class JobStore(Protocol):
    """Jobs and their results, shared by all that hold the same store. Calls block, and are safe in any thread.

    A step is applied to a job and to nobody's change between reading and writing it; it may raise, and then nothing is
    changed. Everything raises `JobsUnavailable` when the store does not answer, and `UnknownJob`.
    """

    def submit(self, job: Job, key: str | None = None, *, reuse: bool = True) -> Job:
        """Add a job and return it, or the one of its idempotency key, or (`reuse`) one that asked for the same.

        Raises `IdempotencyKeyReused` where the key's job asked for something else.
        """

    def get(self, job_id: str) -> Job:
        """Return one job."""

    def page(self, limit: int, after: str | None = None, state: State | None = None) -> Sequence[Job]:
        """Return jobs, newest first, from the one that follows `after`."""

    def change(self, job_id: str, step: Step, result: str | None = None) -> Job:
        """Apply a step, and keep a result with it."""

    def take(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job that was due first by `now`; None: none is."""

    def take_webhook(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job whose webhook was due first by `now`; None: none is."""

    def result(self, job_id: str) -> str | None:
        """Return the result kept with a job."""

    def same_content(self, content: str) -> str | None:
        """Return the result of a job that succeeded with this content."""

    def remove(self, job_id: str) -> None:
        """Forget a job and its result."""

    def finished_before(self, then: float) -> Sequence[str]:
        """Return the ids of jobs that were finished by then."""

    def in_use(self, upload: str) -> bool:
        """Whether a job that is not finished needs an upload."""

    def close(self) -> None:
        """Let go of files and connections."""


def unknown(job_id: str) -> UnknownJob:
    """Return the error of a job that is not there."""
    return UnknownJob(f"no job has the id '{job_id}': it never was, or was deleted, or its retention is over", "id")


def for_key(key: str, existing: Job, asked: Job) -> Job:
    """Return the job of an idempotency key; raises where something else was asked for under it."""
    if existing.request != asked.request:
        raise IdempotencyKeyReused(
            f"the Idempotency-Key '{key}' belongs to job '{existing.id}', "
            "which has another file or other options; use a new key for another request",
            "Idempotency-Key",
        )
    return existing
