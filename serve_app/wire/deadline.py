"""A client's own deadline: the header `X-Request-Timeout-Seconds`, which Serve's proxy keeps too, with a plain text."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from fastapi import Request

from serve_app.errors import BadRequest, DeadlineExceeded
from serve_app.events import Event

HEADER = "x-request-timeout-seconds"
EARLIER = 0.9
"""We answer at this share of the time, before the proxy does: ours says what was exceeded, in OpenAI's shape …"""
AT_MOST_EARLIER_S = 0.5
"""… and no more than this before."""


class Deadline:
    """When a request's time is over; without the header, never."""

    def __init__(self, request: Request) -> None:
        self._given = _seconds(request.headers.get(HEADER))
        early = None if self._given is None else max(self._given * EARLIER, self._given - AT_MOST_EARLIER_S)
        self._at = None if early is None else asyncio.get_running_loop().time() + early

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """End what is done inside once the time is over; raises `DeadlineExceeded`."""
        try:
            async with asyncio.timeout_at(self._at) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"the answer was not there within the {self._given:g} s of {HEADER}; allow more, "
                "or send the file as a job"
            ) from error

    async def keep(self, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
        """Pass events on until the time is over."""
        async with aclosing(events):
            while True:
                async with self.kept():
                    event = await anext(events, None)
                if event is None:
                    return
                yield event


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float("inf") if value is None else float(value)
    except ValueError:
        raise BadRequest(f"'{HEADER}: {value}' is no number of seconds", HEADER) from None
    return seconds if 0 < seconds < float("inf") else None
