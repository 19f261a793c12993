"""`POST /v1/audio/transcriptions`: the whole answer in the format asked for, or a stream of it."""

import uuid
from collections.abc import AsyncGenerator
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
from serve_app.wire.streaming import Telling

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
            return await _stream(deadline.keep(presets.stream(preset, form.file.file, options)), form)
        async with deadline.kept():
            transcript = await presets.transcribe(preset, form.file.file, options)
        return _answer(transcript, form)

    return router


def _apart(request: Request, options: RequestOptions) -> RequestOptions:
    """A client that says `Cache-Control: no-cache` shares no work with others that ask for the same."""
    alone = "no-cache" in request.headers.get("cache-control", "")
    return replace(options, nonce=uuid.uuid4().hex) if alone else options


def _answer(transcript: Transcript, form: TranscriptionForm) -> Response:
    body = FORMATS[form.response_format](transcript, form.layout())
    timing = ", ".join(f"{part};dur={seconds * 1000:.1f}" for part, seconds in transcript.timings.items())
    headers = {"Server-Timing": timing}
    return PlainTextResponse(body, headers=headers) if isinstance(body, str) else JSONResponse(body, headers=headers)


async def _stream(events: AsyncGenerator[Event], form: TranscriptionForm) -> Response:
    telling = Telling(events)
    await telling.begun(PROMPT_S)
    written = telling.frames(diarized=form.response_format == "diarized_json", logprobs=bool(form.include))
    return StreamingResponse(written, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
