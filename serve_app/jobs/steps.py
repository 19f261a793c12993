"""What may become of a job: functions from a job to the next, which stores apply to a row and nobody else's between.

Each attempt has a worker of its own, so that whoever lost a job to another cannot write into it any more.
"""

from collections.abc import Callable
from typing import Any

from serve_app.errors import JobNotFinished, PresetUnavailable
from serve_app.events import Progress
from serve_app.jobs.job import Job, Webhook, share_done

Step = Callable[[Job], Job]


class JobLost(Exception):
    """The job is not this attempt's any more: it was cancelled, deleted, or taken by another after the lease lapsed."""


def taken(worker: str, now: float, lease_s: float, attempts: int) -> Step:
    """Begin an attempt; a job whose workers died once too often fails instead."""

    def step(job: Job) -> Job:
        if job.attempts >= attempts:
            return _ended(job, now, "failed", _died(job))
        return _with(
            job,
            state="running",
            worker=worker,
            due_at=now + lease_s,
            attempts=job.attempts + 1,
            started_at=job.started_at or now,
            stages=Progress(),
        )

    return step


def beaten(worker: str, now: float, lease_s: float, stages: Progress) -> Step:
    """Extend the lease and tell how far the work is; raises JobLost."""

    def step(job: Job) -> Job:
        _mine(job, worker)
        return _with(job, due_at=now + lease_s, stages=stages, progress=max(job.progress, share_done(stages)))

    return step


def succeeded(worker: str, now: float, stages: Progress | None = None) -> Step:
    """End a job well; raises JobLost."""

    def step(job: Job) -> Job:
        return _ended(_mine(job, worker), now, "succeeded", None, progress=1.0, stages=stages or job.stages)

    return step


def failed(worker: str, now: float, error: dict[str, Any]) -> Step:
    """End a job with an error in OpenAI's shape; raises JobLost."""
    return lambda job: _ended(_mine(job, worker), now, "failed", error)


def put_back(worker: str, due_at: float, *, counted: bool) -> Step:
    """Queue a job again, not before `due_at`; the attempt may not count. Raises JobLost."""

    def step(job: Job) -> Job:
        attempts = _mine(job, worker).attempts - (not counted)
        started_at = job.started_at if attempts else None
        return _with(job, state="queued", worker=None, due_at=due_at, attempts=attempts, started_at=started_at)

    return step


def cancelled(now: float) -> Step:
    """End a job that nobody wants any more; one that is finished stays as it is."""
    return lambda job: job if job.finished else _ended(job, now, "cancelled", None)


def told(now: float, again_in_s: float | None, error: str | None) -> Step:
    """Note a try to call the webhook: it worked (no error), or is tried again, or never again (None)."""

    def step(job: Job) -> Job:
        hook = job.webhook
        if hook is None:
            return job
        state = "delivered" if error is None else "failed" if again_in_s is None else "pending"
        due_at = now + again_in_s if state == "pending" and again_in_s is not None else None
        changes = {"state": state, "due_at": due_at, "error": error}
        return _with(job, webhook=hook.model_copy(update=changes))

    return step


def calling(now: float, lease_s: float) -> Step:
    """Begin a try to call the webhook; nobody else does so for `lease_s`."""

    def step(job: Job) -> Job:
        hook = job.webhook or Webhook(url="")
        return _with(job, webhook=hook.model_copy(update={"tries": hook.tries + 1, "due_at": now + lease_s}))

    return step


def not_finished(job: Job) -> JobNotFinished:
    """Return the error of who asks for the result too early, or of one that there never will be."""
    if job.state == "cancelled":
        return JobNotFinished(f"job '{job.id}' was cancelled: it has no result; submit the file again")
    return JobNotFinished(f"job '{job.id}' is {job.state} ({job.progress:.0%}); ask again once it has succeeded")


def _ended(job: Job, now: float, state: str, error: dict[str, Any] | None, **changes: Any) -> Job:
    hook = job.webhook and job.webhook.model_copy(update={"state": "pending", "due_at": now})
    return _with(job, state=state, finished_at=now, due_at=None, worker=None, error=error, webhook=hook, **changes)


def _mine(job: Job, worker: str) -> Job:
    if job.state != "running" or job.worker != worker:
        raise JobLost(job.id)
    return job


def _died(job: Job) -> dict[str, Any]:
    error = PresetUnavailable(
        f"the worker of this job died {job.attempts} times in a row; see the service's log, then submit it again"
    )
    return error.described()


def _with(job: Job, **changes: Any) -> Job:
    return job.model_copy(update=changes)
