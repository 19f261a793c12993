"""Work that is sent again when the replica that held it died: transcribing is pure, so nothing is done twice."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from serve_app.errors import PresetUnavailable, ReplicaLost

ATTEMPTS = 3
"""How often work is sent before its loss is the client's."""

Value = TypeVar("Value")


async def again(send: Callable[[], Awaitable[Value]], attempts: int = ATTEMPTS) -> Value:
    """Send work, and again while its replica dies; then give up with an error that nobody sends again."""
    for _ in range(attempts):
        try:
            return await send()
        except ReplicaLost as error:
            lost = error
    raise PresetUnavailable(f"{lost.message} ({attempts} times in a row)") from lost
