"""What is answered, for the OpenAPI document: the shapes of JSON bodies, and of errors by status."""

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from serve_app.jobs.job import State as JobState
from serve_app.presets import State


class Error(BaseModel):
    """What went wrong; `param` is the field or header at fault."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every error, in OpenAI's one shape."""

    error: Error


class Duration(BaseModel):
    """Usage by the audio's length."""

    type: Literal["duration"]
    seconds: float


class Language(BaseModel):
    """A language that was heard."""

    code: str


class Logprob(BaseModel):
    """A token and its log-probability."""

    token: str
    bytes: list[int]
    logprob: float


class JsonAnswer(BaseModel):
    """`response_format=json`."""

    text: str
    usage: Duration
    languages: list[Language] | None = None
    logprobs: list[Logprob] | None = None
    warnings: list[str] | None = None


class WordAnswer(BaseModel):
    """A word and its place; score and speaker where they are known, the decoder's probability where asked for."""

    word: str
    start: float | None
    end: float | None
    score: float | None = None
    probability: float | None = None
    speaker: str | None = None


class SegmentAnswer(BaseModel):
    """A segment with the decoder's figures; `suspect` only where its text passed the thresholds at no temperature."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    suspect: Literal[True] | None = None
    speaker: str | None = None
    words: list[WordAnswer] | None = None


class VerboseAnswer(BaseModel):
    """`response_format=verbose_json`."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: Duration
    segments: list[SegmentAnswer] | None = None
    words: list[WordAnswer] | None = None
    warnings: list[str] | None = None
    speaker_embeddings: dict[str, list[float]] | None = None


class DiarizedSegment(BaseModel):
    """A segment of one speaker."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    speaker: str
    text: str


class DiarizedAnswer(BaseModel):
    """`response_format=diarized_json`."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[DiarizedSegment]
    usage: Duration
    warnings: list[str] | None = None
    speaker_embeddings: dict[str, list[float]] | None = None


class WhisperAnswer(BaseModel):
    """`response_format=whisper_json`."""

    text: str
    segments: list[SegmentAnswer]
    language: str
    warnings: list[str] | None = None
    speaker_embeddings: dict[str, list[float]] | None = None


class Model(BaseModel):
    """A preset as OpenAI lists models."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """All presets."""

    object: Literal["list"]
    data: list[Model]


class PresetPage(BaseModel):
    """A preset's facts; those after `replicas` only while it is awake."""

    id: str
    object: Literal["preset"]
    state: State
    message: str
    replicas: dict[str, int]
    stages: dict[str, Any] | None = None
    borrowed: dict[str, str] | None = None
    languages: list[str] | None = None
    real_time_factor: float | None = Field(default=None, description="seconds of work per second of audio")
    files: int | None = None


class PresetPages(BaseModel):
    """All presets' facts."""

    object: Literal["list"]
    data: list[PresetPage]


class Health(BaseModel):
    """This process answers."""

    status: Literal["ok"]


class PresetReady(BaseModel):
    """Whether a preset can answer."""

    state: State
    message: str


class Ready(BaseModel):
    """Whether all awake presets can answer."""

    ready: bool
    presets: dict[str, PresetReady]


class JobStages(BaseModel):
    """What was found in a job's file so far, and what of it is done."""

    heard_s: float
    windows: int
    transcribed: int
    aligned: int
    blocks: int
    diarized: int
    all_heard: bool


class JobWebhook(BaseModel):
    """Where a finished job is told, and how that went."""

    url: str
    state: str
    tries: int
    error: str | None


class Job(BaseModel):
    """A job, but for its result; times are seconds since 1970."""

    id: str
    object: Literal["transcription.job"]
    state: JobState
    model: str
    response_format: str
    metadata: dict[str, str]
    created_at: int
    started_at: int | None
    finished_at: int | None
    attempts: int
    progress: float
    stages: JobStages
    result_url: str | None
    error: Error | None
    webhook: JobWebhook | None


class Jobs(BaseModel):
    """A page of jobs."""

    object: Literal["list"]
    data: list[Job]
    first_id: str | None
    last_id: str | None
    has_more: bool


class JobDeleted(BaseModel):
    """A job that is no more."""

    id: str
    object: Literal["transcription.job.deleted"]
    deleted: bool


REASONS = {
    400: "the request cannot be answered as it stands",
    404: "there is no such thing",
    408: "the answer was not there in the time that the client gave",
    409: "the job is not finished, or was cancelled",
    413: "the upload is larger than accepted",
    415: "the body is of a type that holds neither a form nor audio",
    422: "the Idempotency-Key belongs to another file or other options",
    500: "something broke that is not the request's fault",
    503: "the preset cannot answer now; Retry-After says when to try again",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document errors of these statuses, and of 500."""
    return {status: {"model": ErrorBody, "description": REASONS[status]} for status in (*statuses, 500)}


def document(app: FastAPI) -> None:
    """Let the app's OpenAPI document say what is answered, not what FastAPI would answer by itself."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _without_422(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to do it


def _without_422(schema: dict[str, Any]) -> None:
    """A field that is wrong is answered with 400."""
    for path in schema["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
