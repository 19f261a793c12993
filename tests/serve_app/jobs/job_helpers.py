"""Makers of jobs."""

from typing import Any

from serve_app.jobs.job import Job, Webhook, content_of, hashed, new_id
from serve_app.options import RequestOptions

NOW = 1000.0
HOOK = Webhook(url="https://example.org/hook")


def job(upload: str = "a", at: float = NOW, **changes: Any) -> Job:
    """A job that was queued at a time."""
    content = content_of(upload, "fast", RequestOptions())
    given = {
        "id": new_id(at),
        "preset": "fast",
        "upload": upload,
        "options": RequestOptions(),
        "created_at": at,
        "due_at": at,
        "content": content,
        "request": hashed([content]),
    }
    return Job(**{**given, **changes})
