"""The settings of jobs: where they are kept, how many are run, how long they stay, how webhooks are called.

No `from __future__ import annotations` here, as in `config.py`.
"""

import os
from pathlib import Path

from pydantic import Field, field_validator

from serve_app.strict import Strict


class WebhookArgs(Strict):
    """How a finished job is told to its `webhook_url`; without the secret none can be asked for."""

    secret_env: str = Field(
        default="RAYSCRIBE_WEBHOOK_SECRET",
        description="the environment variable that holds whsec_ and 24 to 64 random bytes in base64",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="host names or addresses that may also be private or plain http; *.example.org: all below it",
    )
    timeout_s: float = Field(default=10, gt=0, le=60)
    tries: int = Field(default=8, ge=1, le=20, description="after 5 s, 20 s, 80 s … 4 h; eight: over some 6 hours")


class JobsArgs(Strict):
    """Jobs: uploads lie in `folder`, the table too, or in Redis (`broker`), which several nodes need."""

    folder: str = Field(
        default_factory=lambda: os.environ.get("RAYSCRIBE_JOBS", ".rayscribe/jobs"),
        validate_default=True,
        description="relative ones start at the directory in which the service was started",
    )
    broker: str | None = Field(
        default_factory=lambda: os.environ.get("RAYSCRIBE_JOBS_BROKER"),
        validate_default=True,
        description="redis://host:port/number, rediss:// or unix://; none: SQLite in the folder, for one machine",
    )
    at_once: int = Field(default=2, ge=1, le=64, description="jobs run at once by each replica of the gateway")
    attempts: int = Field(default=5, ge=1, description="how often a job is begun before it fails")
    retention_s: float = Field(default=7 * 86_400, gt=0, description="how long a finished job is kept")
    lease_s: float = Field(default=30, ge=2, description="how long a job stays with a worker that says nothing")
    webhook: WebhookArgs = Field(default_factory=WebhookArgs)

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: str) -> str:
        return str(Path(folder).expanduser().resolve())

    @field_validator("broker")
    @classmethod
    def _is_redis(cls, broker: str | None) -> str | None:
        if broker is not None and not broker.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://; leave it out to use SQLite in the folder")
        return broker
