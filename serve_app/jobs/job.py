"""A job as it is stored: plain JSON that older and newer versions read, as unknown keys are passed over."""

import json
import os
import time
from typing import Any, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field

from serve_app.events import Progress
from serve_app.options import RequestOptions
from serve_app.transcript import Transcript

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
REUSED: tuple[State, ...] = ("queued", "running", "succeeded")
"""A job in one of these answers for another one that asks for the same."""


class Stored(BaseModel):
    """Base of what is written down: frozen; bytes are base64, as JSON has none."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
    )


class Webhook(Stored):
    """Where a finished job is told of. `due_at`: when it is tried next, in seconds since 1970; None: never again."""

    url: str
    state: Literal["waiting", "pending", "delivered", "failed"] = "waiting"
    tries: int = 0
    due_at: float | None = None
    error: str | None = None


class Job(Stored):
    """One job. All times are seconds since 1970.

    `upload` is the blake3 hash of the file, `content` that of file, preset and options: whatever has the same has the
    same result; `request` that of all that was asked for. `due_at` is when something is to be done next: a queued job
    may be run then, a running one's lease lapses; None: never again. `progress` is a share from 0 to 1 and never falls.
    `choices` are the form's for the result: what `result` answers with if it is not told otherwise.
    """

    id: str
    preset: str
    upload: str
    options: RequestOptions
    choices: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    state: State = "queued"
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    due_at: float | None = None
    worker: str | None = None
    attempts: int = 0
    progress: float = 0.0
    stages: Progress = Field(default_factory=Progress)
    error: dict[str, Any] | None = None
    webhook: Webhook | None = None
    content: str = ""
    request: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in FINISHED


class _Result(Stored):
    transcript: Transcript


def transcript_to_json(transcript: Transcript) -> str:
    """Write a transcript down, whole."""
    return _Result(transcript=transcript).model_dump_json()


def transcript_from_json(text: str) -> Transcript:
    """Read what `transcript_to_json` wrote, also an older or newer version's."""
    return _Result.model_validate_json(text).transcript


def new_id(now: float | None = None) -> str:
    """Return an id; later ones sort after earlier ones."""
    return f"job_{int((now or time.time()) * 1000):012x}{os.urandom(10).hex()}"


def content_of(upload: str, preset: str, options: RequestOptions) -> str:
    """Return the hash of what makes a result."""
    return hashed(_Content(upload=upload, preset=preset, options=options).model_dump(mode="json"))


def hashed(values: Any) -> str:
    """Return a hash that is the same for the same plain values and for nothing else."""
    return blake3(json.dumps(values, sort_keys=True).encode()).hexdigest()


class _Content(Stored):
    upload: str
    preset: str
    options: RequestOptions


def share_done(stages: Progress) -> float:
    """Return the share that is done, from 0 to 1.

    How long a file is, is known once all of it is heard: until then it is half of the share of what was found.
    """
    found = 2 * stages.windows + stages.blocks
    done = stages.transcribed + stages.aligned + stages.diarized
    return min(0.99, done / found if stages.all_heard else done / (2 * found)) if found else 0.0
