"""Work that is sent again when the replica that held it died: transcribing is pure, so nothing is done twice."""

from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serve_app.errors import PresetUnavailable, ReplicaKilled, ReplicaLost

ATTEMPTS = 3
"""How often work is sent before its loss is the client's."""
UNNOTICED_S = (1.0, 11.0)
"""Before the next attempts where a replica was killed: Serve takes it for idle for up to ten seconds."""

Value = TypeVar("Value")


async def again(send: Callable[[], Awaitable[Value]]) -> Value:
    """Send work, and again while its replica dies; then give up with an error that nobody sends again."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return await send()
        except ReplicaLost as lost:
            await after(attempt, lost)


async def after(attempt: int, lost: ReplicaLost) -> None:
    """Wait until it is worth while to send work again that was lost in this attempt, from 1; raise if it was the last.

    Raises:
        PresetUnavailable: no further attempt is made.

    """
    if attempt == ATTEMPTS:
        raise PresetUnavailable(f"{lost.message} ({ATTEMPTS} times in a row)") from lost
    if isinstance(lost, ReplicaKilled):
        await sleep(UNNOTICED_S[attempt - 1])
