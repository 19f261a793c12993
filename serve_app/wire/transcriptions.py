"""`POST /v1/audio/transcriptions`: the whole answer in the format asked for, or a stream of it."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from serve_app.events import Event
from serve_app.options import RequestOptions
from serve_app.presets import Presets
from serve_app.transcript import Transcript
from serve_app.wire.bodies import AnyBodyRoute, content_types
from serve_app.wire.formats import FORMATS
from serve_app.wire.schemas import TranscriptionForm
from serve_app.wire.streaming import frames
from serve_app.wire.uploads import Uploads

PROMPT_S = 2.0
"""How long a stream waits for its first event before it begins: what is refused at once has a status of its own."""


def transcriptions(presets: Presets, uploads: Uploads) -> APIRouter:
    """Build the route over presets."""
    router = APIRouter(tags=["audio"], route_class=AnyBodyRoute)

    @router.post("/v1/audio/transcriptions", response_model=None, openapi_extra=content_types(TranscriptionForm))
    async def transcribe(
        request: Request, form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Transcribe an audio or video file."""
        preset = presets.resolve(form.model)
        options = _apart(request, form.options())
        if form.stream:
            events = await _begun(heard(preset, form, options))
            return _stream(events, form)
        async with uploads.opened(form) as file:
            return _answer(await presets.transcribe(preset, file, options), form)

    async def heard(preset: str, form: TranscriptionForm, options: RequestOptions) -> AsyncGenerator[Event]:
        async with uploads.opened(form) as file, aclosing(presets.stream(preset, file, options)) as events:
            async for event in events:
                yield event

    return router


def _apart(request: Request, options: RequestOptions) -> RequestOptions:
    """A client that says `Cache-Control: no-cache` shares no work with others that ask for the same."""
    alone = "no-cache" in request.headers.get("cache-control", "")
    return replace(options, nonce=uuid.uuid4().hex) if alone else options


def _answer(transcript: Transcript, form: TranscriptionForm) -> Response:
    body = FORMATS[form.response_format](transcript, form.timestamp_granularities or ("segment",))
    timing = ", ".join(f"{part};dur={seconds * 1000:.1f}" for part, seconds in transcript.timings.items())
    headers = {"Server-Timing": timing}
    return PlainTextResponse(body, headers=headers) if isinstance(body, str) else JSONResponse(body, headers=headers)


def _stream(events: AsyncGenerator[Event], form: TranscriptionForm) -> Response:
    written = frames(events, diarized=form.response_format == "diarized_json")
    return StreamingResponse(written, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _begun(events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    """Return the events once there is one, or after a moment; raises what goes wrong until then."""
    first = asyncio.ensure_future(anext(events, None))
    try:
        if (await asyncio.wait({first}, timeout=PROMPT_S))[0]:
            first.result()
    except BaseException:
        first.cancel()
        raise
    return _resumed(first, events)


async def _resumed(first: "asyncio.Future[Event | None]", events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    async with aclosing(events):
        event = await first
        while event is not None:
            yield event
            event = await anext(events, None)
