"""`/v1/jobs`: long files as jobs, on the form of `/v1/audio/transcriptions`."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator, model_validator

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.jobs.desk import Desk, Order
from serve_app.jobs.job import Job, State
from serve_app.jobs.rendering import rendered
from serve_app.presets import Presets
from serve_app.wire.answers import Job as JobAnswer
from serve_app.wire.answers import JobDeleted, Jobs, errors
from serve_app.wire.audio import WRITTEN, wants_its_own, written
from serve_app.wire.bodies import AnyBodyRoute, content_types
from serve_app.wire.output_fields import OutputFields
from serve_app.wire.schemas import SPEAKER_FORMATS, TranscriptionForm, gathered
from serve_app.wire.uploads import Uploads

LONGEST_KEY = 255
MOST_METADATA, LONGEST_NAME, LONGEST_VALUE = 16, 64, 512
"""OpenAI's."""


class ResultQuery(OutputFields):
    """How a result is written; what is left out is as the job was told."""

    def chosen(self) -> dict[str, Any]:
        """Return what was said; raises for what a finished job cannot do."""
        _not_streamed(self.stream)
        return self.model_dump(mode="json", exclude_unset=True)


class JobForm(TranscriptionForm):
    """The form of a transcription, and what a job has besides."""

    webhook_url: str | None = Field(default=None, description="is sent the job, signed, once it is finished")
    metadata: dict[str, str] = Field(
        default_factory=dict, description="up to 16 names and values, as metadata[name] or one JSON object"
    )

    @model_validator(mode="before")
    @classmethod
    def _metadata_by_name(cls, values: Any) -> Any:
        return gathered(values, "metadata") if isinstance(values, dict) else values

    @field_validator("metadata", mode="before")
    @classmethod
    def _metadata_is_an_object(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("is no JSON object; send metadata[name]=value, or one as {name: value}") from None

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, value: dict[str, str]) -> dict[str, str]:
        sizes = [len(name) <= LONGEST_NAME and len(text) <= LONGEST_VALUE for name, text in value.items()]
        if len(sizes) > MOST_METADATA or not all(sizes):
            raise ValueError(
                f"has at most {MOST_METADATA} names of {LONGEST_NAME} characters, with values of {LONGEST_VALUE}"
            )
        return value

    def _check_shown(self) -> None:
        """Speakers may be told apart for any format: another one may be chosen later."""

    def choices(self) -> dict[str, Any]:
        """Return how the result is to be written."""
        return self.model_dump(mode="json", include=set(OutputFields.model_fields), exclude_defaults=True)


def add_jobs(app: FastAPI, desk: Desk, presets: Presets, uploads: Uploads) -> None:
    """Offer jobs."""
    app.include_router(_submitting(desk, presets, uploads))
    app.include_router(_looking(desk))
    app.include_router(_ending(desk))


def lifespan(desk: Desk) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Run jobs as long as the app is up."""

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        async with desk.working():
            yield

    return working


def _submitting(desk: Desk, presets: Presets, uploads: Uploads) -> APIRouter:
    router = APIRouter(tags=["jobs"], route_class=AnyBodyRoute)

    @router.post(
        "/v1/jobs",
        status_code=202,
        response_model=None,
        responses={
            202: {"model": JobAnswer, "description": "a new job"},
            200: {"model": JobAnswer, "description": "the job was there: the same was asked for before"},
            **errors(400, 404, 413, 415, 422, 503),
        },
        openapi_extra=content_types(JobForm),
    )
    async def submit(
        request: Request, form: Annotated[JobForm, Form(media_type="multipart/form-data")]
    ) -> JSONResponse:
        """Take a file on; 202 for a new job, 200 for one that was asked for before."""
        order = _order(request, form, presets.resolve(form.model))
        async with uploads.opened(form) as file:
            job, new = await desk.submit(file, order)
        root = request.scope.get("root_path", "").rstrip("/")
        return JSONResponse(rendered(job), 202 if new else 200, {"Location": f"{root}/v1/jobs/{job.id}"})

    return router


def _not_streamed(stream: bool) -> None:
    if stream:
        raise UnsupportedOption("'stream': a job is not streamed; ask for its state, or give a webhook_url", "stream")


def _order(request: Request, form: JobForm, preset: str) -> Order:
    """Words are always placed: the format may be chosen later."""
    options = replace(form.options(), align=True)
    _not_streamed(form.stream)
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(f"the Idempotency-Key must have 1 to {LONGEST_KEY} characters", "Idempotency-Key")
    return Order(preset, options, form.choices(), form.metadata, form.webhook_url, key, wants_its_own(request))


def _looking(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.get("/v1/jobs", response_model=None, responses={200: {"model": Jobs}, **errors(400, 503)})
    async def jobs(
        limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None, state: State | None = None
    ) -> dict[str, Any]:
        """List jobs, newest first; `after` is the `last_id` of the page before."""
        found = await desk.page(limit + 1, after, state)
        return _listed(found[:limit], more=len(found) > limit)

    @router.get("/v1/jobs/{id}", response_model=None, responses={200: {"model": JobAnswer}, **errors(404, 503)})
    async def job(id: str) -> dict[str, Any]:
        """Tell how far a job is."""
        return rendered(await desk.get(id))

    @router.get("/v1/jobs/{id}/result", response_model=None, responses={**WRITTEN, **errors(400, 404, 409, 503)})
    async def result(id: str, query: Annotated[ResultQuery, Query()]) -> Response:
        """Answer as `/v1/audio/transcriptions` would; 409 while there is no result, the job's error if it failed."""
        job = await desk.get(id)
        if job.error:
            return JSONResponse({"error": job.error}, 400 if job.error["type"] == BadRequest.type else 500)
        form = _form(job, query)
        return written(await desk.result(job), form)

    return router


def _listed(jobs: Sequence[Job], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": jobs[0].id, "last_id": jobs[-1].id} if jobs else {"first_id": None, "last_id": None}
    return {"object": "list", "data": [rendered(job) for job in jobs], **ends, "has_more": more}


def _form(job: Job, query: ResultQuery) -> TranscriptionForm:
    """Return the form that this result would have been asked for with: another format has none of the job's shapes."""
    told = query.chosen()
    kept = {} if "response_format" in told else job.choices
    form = TranscriptionForm.model_construct(**{**kept, **told})
    form.layout()
    apart = job.options.diarize or job.options.channels == "separate"
    if form.response_format in SPEAKER_FORMATS and not apart:
        raise _not_done(job, "tell speakers apart", "diarize=true", "response_format")
    if form.include and not job.options.decode.token_probs:
        raise _not_done(job, "keep probabilities", "include[]=logprobs", "include")
    if form.speaker_embeddings and not job.options.speakers.embeddings:
        raise _not_done(job, "keep the speakers' voices", "speaker_embeddings=true", "speaker_embeddings")
    return form


def _not_done(job: Job, what: str, mend: str, param: str) -> BadRequest:
    return BadRequest(f"job '{job.id}' did not {what}; submit the file again with {mend}", param)


def _ending(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.post("/v1/jobs/{id}/cancel", response_model=None, responses={200: {"model": JobAnswer}, **errors(404, 503)})
    async def cancel(id: str) -> dict[str, Any]:
        """Stop a job; one that is finished stays as it is."""
        return rendered(await desk.cancel(id))

    @router.delete("/v1/jobs/{id}", response_model=None, responses={200: {"model": JobDeleted}, **errors(404, 503)})
    async def delete(id: str) -> dict[str, Any]:
        """Forget a job, its result and its file; one that runs is stopped."""
        await desk.delete(id)
        return {"id": id, "object": "transcription.job.deleted", "deleted": True}

    return router
