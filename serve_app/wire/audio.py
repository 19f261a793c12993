"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: the whole answer in some format, or a stream of it."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import accumulate
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from serve_app.events import Event
from serve_app.options import RequestOptions
from serve_app.presets import Presets
from serve_app.transcript import Transcript
from serve_app.wire.answers import DiarizedAnswer, JsonAnswer, VerboseAnswer, WhisperAnswer, errors
from serve_app.wire.bodies import AnyBodyRoute, content_types
from serve_app.wire.deadline import Deadline
from serve_app.wire.formats import FORMATS
from serve_app.wire.schemas import TranscriptionForm, TranslationForm
from serve_app.wire.streaming import Telling
from serve_app.wire.uploads import Uploads

PROMPT_S = 2.0
"""How long a stream waits for its first event before it begins: what is refused at once has a status of its own."""

WARNINGS = "X-Rayscribe-Warnings"
"""The header by which plain text is told of with warnings."""
LONGEST_LINE = 1000
"""Characters of that header."""
UNCODED = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")

ERRORS = errors(400, 404, 408, 413, 415, 503)
PLAIN_OR_STREAM = {"text/plain": {"schema": {"type": "string"}}, "text/event-stream": {"schema": {"type": "string"}}}
WRITTEN: dict[int | str, dict[str, Any]] = {
    200: {"model": DiarizedAnswer | VerboseAnswer | WhisperAnswer | JsonAnswer, "content": PLAIN_OR_STREAM}
}
TRANSCRIBED = {**WRITTEN, **ERRORS}
TRANSLATED: dict[int | str, dict[str, Any]] = {
    200: {"model": VerboseAnswer | WhisperAnswer | JsonAnswer, "content": PLAIN_OR_STREAM},
    **ERRORS,
}


def audio(presets: Presets, uploads: Uploads) -> APIRouter:
    """Build the routes over presets."""
    router = APIRouter(prefix="/v1/audio", tags=["audio"], route_class=AnyBodyRoute)

    @router.post(
        "/transcriptions", response_model=None, openapi_extra=content_types(TranscriptionForm), responses=TRANSCRIBED
    )
    async def transcribe(
        request: Request, form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Transcribe an audio or video file."""
        return await answer(request, form)

    @router.post(
        "/translations", response_model=None, openapi_extra=content_types(TranslationForm), responses=TRANSLATED
    )
    async def translate(
        request: Request, form: Annotated[TranslationForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Transcribe an audio or video file in English, whatever language is spoken in it."""
        return await answer(request, form)

    async def answer(request: Request, form: TranscriptionForm) -> Response:
        preset = presets.resolve(form.model)
        options = _apart(request, form.options())
        deadline = Deadline(request)
        if form.stream:
            return await _stream(deadline.keep(told(preset, form, options)), form)
        async with deadline.kept(), uploads.opened(form) as file:
            transcript = await presets.transcribe(preset, file, options)
        return written(transcript, form)

    async def told(preset: str, form: TranscriptionForm, options: RequestOptions) -> AsyncGenerator[Event]:
        async with uploads.opened(form) as file, aclosing(presets.stream(preset, file, options)) as events:
            async for event in events:
                yield event

    return router


def _apart(request: Request, options: RequestOptions) -> RequestOptions:
    return replace(options, nonce=uuid.uuid4().hex) if wants_its_own(request) else options


def wants_its_own(request: Request) -> bool:
    """Whether a client says `Cache-Control: no-cache`: it shares no work with others that ask for the same."""
    return "no-cache" in request.headers.get("cache-control", "")


def written(transcript: Transcript, form: TranscriptionForm) -> Response:
    """Write a transcript as the form has it."""
    body = FORMATS[form.response_format](transcript, form.layout())
    timing = ", ".join(f"{part};dur={seconds * 1000:.1f}" for part, seconds in transcript.timings.items())
    headers = {"Server-Timing": timing}
    if not isinstance(body, str):
        return JSONResponse(body, headers=headers)
    told = {WARNINGS: on_a_line(transcript.warnings)} if transcript.warnings else {}
    return PlainTextResponse(body, headers={**headers, **told})


def on_a_line(warnings: Sequence[str]) -> str:
    """Join warnings for a header: printable ASCII, all else and % percent-encoded, as much as `LONGEST_LINE` holds."""
    coded = [quote(character, safe=UNCODED) for character in "; ".join(warnings)]
    sizes = accumulate(map(len, coded))
    return "".join(each for each, size in zip(coded, sizes, strict=True) if size <= LONGEST_LINE)


async def _stream(events: AsyncGenerator[Event], form: TranscriptionForm) -> Response:
    telling = Telling(events)
    await telling.begun(PROMPT_S)
    frames = telling.frames(diarized=form.response_format == "diarized_json", layout=form.layout())
    return StreamingResponse(frames, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
