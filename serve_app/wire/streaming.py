"""A transcription as server-sent events, as OpenAI documents them: deltas, segments with speakers, the end."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from serve_app.errors import RayscribeError
from serve_app.events import Deltas, Done, Event, Spoken
from serve_app.transcript import Segment, Transcript
from serve_app.wire.formats import (
    PLAIN,
    Layout,
    diarized_segments,
    heard_languages,
    speaker_embeddings,
    token_logprobs,
    warnings,
)
from serve_app.wire.problems import body_of

HEARTBEAT_S = 10.0
"""How long a proxy on the way sees nothing: a comment keeps it from closing the connection."""
TOKENS_PER_S = 50
"""Whisper's encoder makes so many positions of a second of audio."""

logger = logging.getLogger("ray.serve.rayscribe")


class Telling:
    """Events on their way to a client, taken by a task of their own.

    A server ends a response by cancelling whatever is awaited in it, again and again: only a task apart can close the
    events in peace.
    """

    def __init__(self, events: AsyncGenerator[Event]) -> None:
        self._told: asyncio.Queue[Event | None] = asyncio.Queue()
        self._told_nothing = True
        self._begun = asyncio.Event()
        self._task = asyncio.create_task(self._take(events))

    async def begun(self, within_s: float) -> None:
        """Return once there is an event, or after a while; raises what went wrong before any."""
        try:
            async with asyncio.timeout(within_s):
                await self._begun.wait()
        except TimeoutError:
            return
        except asyncio.CancelledError:
            self.close()
            raise
        if self._told_nothing:
            self._task.result()

    async def frames(
        self, *, diarized: bool, layout: Layout = PLAIN, heartbeat_s: float = HEARTBEAT_S
    ) -> AsyncGenerator[str]:
        """Write frames, comments while there is nothing to tell, and what goes wrong as a frame that clients raise."""
        writer = _Writer(diarized, layout)
        try:
            async for event in self._events(heartbeat_s):
                if event is None:
                    yield ": heartbeat\n\n"
                for each in writer.write(event) if event else ():
                    yield _frame(each)
            self._task.result()
        except RayscribeError as error:
            yield _frame(body_of(error))
        except Exception as error:
            logger.error("unforeseen error in a stream", exc_info=error)
            yield _frame(body_of(RayscribeError("an internal error; the service's log has the details")))
        finally:
            self.close()
        yield "data: [DONE]\n\n"

    def close(self) -> None:
        """Give the work up, if it is not done."""
        self._task.cancel()

    async def _events(self, heartbeat_s: float) -> AsyncIterator[Event | None]:
        """Yield what is told, and None for every `heartbeat_s` in which nothing is."""
        while True:
            try:
                async with asyncio.timeout(heartbeat_s):
                    event = await self._told.get()
            except TimeoutError:
                yield None
                continue
            if event is None:
                return
            yield event

    async def _take(self, events: AsyncGenerator[Event]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._told_nothing = False
                    self._told.put_nowait(event)
                    self._begun.set()
        finally:
            asyncio.get_running_loop().call_soon(self._end)  # once this task is done

    def _end(self) -> None:
        self._told.put_nowait(None)
        self._begun.set()


class _Writer:
    """What a client is told of each event; it has heard of some before."""

    def __init__(self, diarized: bool, layout: Layout) -> None:
        self._diarized, self._layout = diarized, layout
        self._deltas = Deltas()

    def write(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case Spoken():
                for text, segment in self._deltas.of(event):
                    yield {"type": "transcript.text.delta", "delta": text, **self._figures([segment])}
            case Done(transcript):
                yield from diarized_segments(transcript) if self._diarized else ()
                about = {**heard_languages(transcript), **self._figures(transcript.segments)}
                about |= warnings(transcript) | speaker_embeddings(transcript, self._layout)
                done = {"type": "transcript.text.done", "text": transcript.text, **about}
                yield {**done, "usage": tokens(transcript)}

    def _figures(self, segments: Iterable[Segment]) -> dict[str, Any]:
        return {"logprobs": token_logprobs(segments)} if self._layout.logprobs else {}


def tokens(transcript: Transcript) -> dict[str, Any]:
    """OpenAI's usage by tokens: the audio's as Whisper's encoder counts them, and those of the text."""
    heard = math.ceil(transcript.heard_s * TOKENS_PER_S)
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
