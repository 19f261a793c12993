"""`/v1/jobs`: long files as jobs, on the form of `/v1/audio/transcriptions`."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator, model_validator

from serve_app.errors import BadRequest, EmptyAudio, UnsupportedOption
from serve_app.jobs.desk import Desk, Order
from serve_app.jobs.job import Job, State
from serve_app.jobs.rendering import rendered
from serve_app.presets import Presets
from serve_app.strict import Strict
from serve_app.wire.schemas import SPEAKER_FORMATS, ResponseFormat, TranscriptionForm, gathered
from serve_app.wire.transcriptions import answer, wants_its_own

LONGEST_KEY = 255
MOST_METADATA, LONGEST_NAME, LONGEST_VALUE = 16, 64, 512
"""OpenAI's."""


class FormatChoices(Strict):
    """How a result is written; what is left out is as the job was told."""

    response_format: ResponseFormat | None = None
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default_factory=list, alias="timestamp_granularities[]", description="with verbose_json only"
    )

    def chosen(self) -> dict[str, Any]:
        """Return what was said."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


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

    def choices(self) -> dict[str, Any]:
        """Return how the result is to be written."""
        given = {name: getattr(self, name) for name in FormatChoices.model_fields}
        return FormatChoices.model_validate(given).model_dump(mode="json")


def add_jobs(app: FastAPI, desk: Desk, presets: Presets) -> None:
    """Offer jobs."""
    app.include_router(_submitting(desk, presets))
    app.include_router(_looking(desk))
    app.include_router(_ending(desk))


def lifespan(desk: Desk) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Run jobs as long as the app is up."""

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        async with desk.working():
            yield

    return working


ANSWERS = {
    200: "the job was there: the same was asked for before",
    400: "the request, or the file, cannot be used as it stands",
    404: "no job, or no preset, has this name",
    409: "the job is not finished, or was cancelled",
    413: "the upload is too large",
    422: "the Idempotency-Key belongs to another file or other options",
    500: "the job failed, by no fault of the request",
    503: "jobs cannot be kept or read now; try again later",
}


def _also(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Say which other answers there are."""
    return {status: {"description": ANSWERS[status]} for status in statuses}


def _submitting(desk: Desk, presets: Presets) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.post("/v1/jobs", status_code=202, response_model=None, responses=_also(200, 400, 404, 413, 422, 503))
    async def submit(
        request: Request, form: Annotated[JobForm, Form(media_type="multipart/form-data")]
    ) -> JSONResponse:
        """Take a file on; 202 for a new job, 200 for one that was asked for before."""
        order = _order(request, form, presets.resolve(form.model))
        if not form.file.size:
            raise EmptyAudio("the uploaded file is empty (0 bytes)", "file")
        job, new = await desk.submit(form.file.file, order)
        root = request.scope.get("root_path", "").rstrip("/")
        return JSONResponse(rendered(job), 202 if new else 200, {"Location": f"{root}/v1/jobs/{job.id}"})

    return router


def _order(request: Request, form: JobForm, preset: str) -> Order:
    """Words are always placed: the format may be chosen later."""
    options = replace(form.options(), align=True)
    if form.stream:
        raise UnsupportedOption("'stream': a job is not streamed; ask for its state, or give a webhook_url", "stream")
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise BadRequest(f"the Idempotency-Key must have 1 to {LONGEST_KEY} characters", "Idempotency-Key")
    return Order(preset, options, form.choices(), form.metadata, form.webhook_url, key, wants_its_own(request))


def _looking(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.get("/v1/jobs", responses=_also(400, 503))
    async def jobs(
        limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None, state: State | None = None
    ) -> dict[str, Any]:
        """List jobs, newest first; `after` is the `last_id` of the page before."""
        found = await desk.page(limit + 1, after, state)
        return _listed(found[:limit], more=len(found) > limit)

    @router.get("/v1/jobs/{id}", responses=_also(404, 503))
    async def job(id: str) -> dict[str, Any]:
        """Tell how far a job is."""
        return rendered(await desk.get(id))

    @router.get("/v1/jobs/{id}/result", response_model=None, responses=_also(400, 404, 409, 500, 503))
    async def result(id: str, choices: Annotated[FormatChoices, Query()]) -> Response:
        """Answer as `/v1/audio/transcriptions` would; 409 while there is no result, the job's error if it failed."""
        job = await desk.get(id)
        if job.error:
            return JSONResponse({"error": job.error}, 400 if job.error["type"] == BadRequest.type else 500)
        form = _form(job, choices)
        return answer(await desk.result(job), form)

    return router


def _listed(jobs: Sequence[Job], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": jobs[0].id, "last_id": jobs[-1].id} if jobs else {"first_id": None, "last_id": None}
    return {"object": "list", "data": [rendered(job) for job in jobs], **ends, "has_more": more}


def _form(job: Job, choices: FormatChoices) -> TranscriptionForm:
    """Return the form that this result would have been asked for with."""
    told = choices.chosen()
    if "response_format" in told:
        told = {"timestamp_granularities": [], **told}
    form = TranscriptionForm.model_construct(**{**job.choices, **told})
    if form.response_format in SPEAKER_FORMATS and not job.options.diarize:
        raise BadRequest(
            f"job '{job.id}' did not tell speakers apart; submit it with diarize=true for {form.response_format}",
            "response_format",
        )
    if form.timestamp_granularities and form.response_format != "verbose_json":
        raise BadRequest("timestamp_granularities needs response_format=verbose_json", "timestamp_granularities")
    return form


def _ending(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.post("/v1/jobs/{id}/cancel", responses=_also(404, 503))
    async def cancel(id: str) -> dict[str, Any]:
        """Stop a job; one that is finished stays as it is."""
        return rendered(await desk.cancel(id))

    @router.delete("/v1/jobs/{id}", responses=_also(404, 503))
    async def delete(id: str) -> dict[str, Any]:
        """Forget a job, its result and its file; one that runs is stopped."""
        await desk.delete(id)
        return {"id": id, "object": "transcription.job.deleted", "deleted": True}

    return router
