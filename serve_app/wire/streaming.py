"""A transcription as server-sent events, as OpenAI documents them: deltas, segments with speakers, the end."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

from serve_app.errors import RayscribeError
from serve_app.events import Done, Event, Spoken
from serve_app.transcript import UNSPACED_LANGUAGES, Transcript
from serve_app.wire.formats import diarized_segments
from serve_app.wire.problems import body_of

HEARTBEAT_S = 10.0
"""How long a proxy on the way sees nothing: a comment keeps it from closing the connection."""
TOKENS_PER_S = 50
"""Whisper's encoder makes so many positions of a second of audio."""

logger = logging.getLogger("ray.serve.rayscribe")


async def frames(
    events: AsyncGenerator[Event], *, diarized: bool, heartbeat_s: float = HEARTBEAT_S
) -> AsyncGenerator[str]:
    """Write events as frames, comments while there are none, and what goes wrong as a frame that clients raise."""
    writer = _Writer(diarized)
    try:
        async with aclosing(events), aclosing(_with_heartbeats(events, heartbeat_s)) as beating:
            async for event in beating:
                for each in writer.write(event) if event else ():
                    yield _frame(each)
                if event is None:
                    yield ": heartbeat\n\n"
    except RayscribeError as error:
        yield _frame(body_of(error))
    except Exception as error:
        logger.error("unforeseen error in a stream", exc_info=error)
        yield _frame(body_of(RayscribeError("an internal error; the service's log has the details")))
    yield "data: [DONE]\n\n"


async def _with_heartbeats(events: AsyncIterator[Event], heartbeat_s: float) -> AsyncGenerator[Event | None]:
    """Pass events on, and None for every `heartbeat_s` without one."""
    coming: asyncio.Future[Event | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events, None))
            if not (await asyncio.wait({coming}, timeout=heartbeat_s))[0]:
                yield None
                continue
            if (event := coming.result()) is None:
                return
            coming = None
            yield event
    finally:
        if coming and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})


class _Writer:
    """What a client is told of each event; it has heard of some before."""

    def __init__(self, diarized: bool) -> None:
        self._diarized = diarized
        self._begun = False

    def write(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case Spoken(segments, language):
                for text in filter(None, (segment.text.strip() for segment in segments)):
                    between = " " if self._begun and language not in UNSPACED_LANGUAGES else ""
                    self._begun = True
                    yield {"type": "transcript.text.delta", "delta": between + text}
            case Done(transcript):
                yield from diarized_segments(transcript) if self._diarized else ()
                yield {"type": "transcript.text.done", "text": transcript.text, "usage": tokens(transcript)}


def tokens(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's usage by tokens: the audio's as Whisper's encoder counts them, and those of the text."""
    heard = math.ceil(transcript.duration * TOKENS_PER_S)
    written = sum(len(segment.tokens) for segment in transcript.segments)
    return {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
        "output_tokens": written,
        "total_tokens": heard + written,
    }


def _frame(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
