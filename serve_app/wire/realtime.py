"""`/v1/realtime`: live audio over a websocket, by OpenAI's events for transcription."""

import asyncio
import json
from contextlib import suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from serve_app.config import LimitArgs
from serve_app.errors import BadRequest, RayscribeError
from serve_app.presets import Presets
from serve_app.realtime.session import LiveSession

MOST_EVENT_BYTES = 16_000_000
"""OpenAI's bound of one event: 15 MiB of audio."""
POLICY = 1008
"""The websocket's code for an end that the client could have avoided."""


def realtime(presets: Presets, limits: LimitArgs) -> APIRouter:
    """Build the route over presets."""
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def live(socket: WebSocket, model: str | None = None, intent: str | None = None) -> None:
        """Transcribe what is said while it is said."""
        await socket.accept()
        session = LiveSession(presets, socket.send_json, model)
        tasks = {asyncio.create_task(each) for each in (_listen(socket, session, limits.live_idle_s), session.run())}
        try:
            ended, _ = await asyncio.wait(tasks, timeout=limits.live_s, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
            raise BadRequest(f"a session lasts at most {limits.live_s:g} s; begin another one")
        except WebSocketDisconnect:
            pass
        except RayscribeError as error:
            await _end(socket, session, error)
        finally:
            for task in tasks:
                task.cancel()
            session.close()

    return router


async def _listen(socket: WebSocket, session: LiveSession, idle_s: float) -> None:
    await session.open()
    while True:
        try:
            async with asyncio.timeout(idle_s):
                text = await socket.receive_text()
        except TimeoutError:
            raise BadRequest(f"nothing came for {idle_s:g} s") from None
        if len(text) > MOST_EVENT_BYTES:
            await session.complain(BadRequest(f"an event is at most {MOST_EVENT_BYTES:,} bytes long", "audio"))
            continue
        try:
            event = json.loads(text)
        except ValueError:
            await session.complain(BadRequest("that is no JSON"))
            continue
        await session.take(event)


async def _end(socket: WebSocket, session: LiveSession, error: RayscribeError) -> None:
    with suppress(WebSocketDisconnect, RuntimeError):  # the client may be gone by now
        await session.complain(error)
        await socket.close(POLICY, error.message[:100])
