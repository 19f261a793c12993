"""A job as clients see it: in answers and in webhooks."""

from dataclasses import asdict
from typing import Any

from serve_app.jobs.job import Job


def rendered(job: Job) -> dict[str, Any]:
    """Return the job object; times are whole seconds since 1970, as in OpenAI's objects."""
    return {
        "id": job.id,
        "object": "transcription.job",
        "state": job.state,
        "model": job.preset,
        "response_format": job.choices.get("response_format", "json"),
        "metadata": job.metadata,
        "created_at": int(job.created_at),
        "started_at": _whole(job.started_at),
        "finished_at": _whole(job.finished_at),
        "attempts": job.attempts,
        "progress": round(job.progress, 4),
        "stages": {**asdict(job.stages), "heard_s": round(job.stages.heard_s, 2)},
        "result_url": f"/v1/jobs/{job.id}/result" if job.state == "succeeded" else None,
        "error": job.error,
        "webhook": _webhook(job),
    }


def _webhook(job: Job) -> dict[str, Any] | None:
    return job.webhook.model_dump(include={"url", "state", "tries", "error"}) if job.webhook else None


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
