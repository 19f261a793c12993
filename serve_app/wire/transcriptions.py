"""`POST /v1/audio/transcriptions`: the whole answer in the format asked for, or a stream of it."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from serve_app.errors import EmptyAudio
from serve_app.events import Event
from serve_app.options import RequestOptions
from serve_app.presets import Presets
from serve_app.transcript import Transcript
from serve_app.wire.deadline import Deadline
from serve_app.wire.formats import FORMATS
from serve_app.wire.schemas import TranscriptionForm
from serve_app.wire.streaming import frames

PROMPT_S = 2.0
"""How long a stream waits for its first event before it begins: what is refused at once has a status of its own."""


def transcriptions(presets: Presets) -> APIRouter:
    """Build the route over presets."""
    router = APIRouter(tags=["audio"])

    @router.post("/v1/audio/transcriptions", response_model=None)
    async def transcribe(
        request: Request, form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")]
    ) -> Response:
        """Transcribe an audio or video file."""
        preset = presets.resolve(form.model)
        options = _apart(request, form.options())
        if not form.file.size:
            raise EmptyAudio("the uploaded file is empty (0 bytes)", "file")
        deadline = Deadline(request)
        if form.stream:
            events = await _begun(deadline.keep(presets.stream(preset, form.file.file, options)))
            return _stream(events, form)
        async with deadline.kept():
            transcript = await presets.transcribe(preset, form.file.file, options)
        return answer(transcript, form)

    return router


def _apart(request: Request, options: RequestOptions) -> RequestOptions:
    return replace(options, nonce=uuid.uuid4().hex) if wants_its_own(request) else options


def wants_its_own(request: Request) -> bool:
    """Whether a client says `Cache-Control: no-cache`: it shares no work with others that ask for the same."""
    return "no-cache" in request.headers.get("cache-control", "")


def answer(transcript: Transcript, form: TranscriptionForm) -> Response:
    """Write a transcript as the form has it."""
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
