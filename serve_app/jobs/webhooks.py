"""Telling of finished jobs: signed as Standard Webhooks has it, tried again for hours, through restarts."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from serve_app.errors import BadRequest, UnknownJob
from serve_app.jobs.args import WebhookArgs
from serve_app.jobs.job import Job
from serve_app.jobs.rendering import rendered
from serve_app.jobs.steps import calling, told
from serve_app.jobs.store import JobStore
from serve_app.jobs.webhook_hosts import address_of

if TYPE_CHECKING:
    import httpx  # takes a fifth of a second, for whoever has webhooks

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 4 * 3600.0
AT_ONCE = 8
GONE = 410
PREFIX = "whsec_"


class BadSecret(Exception):
    """The secret is not what Standard Webhooks has; says how to make one."""


def key_of(secret: str) -> bytes:
    """Return the key of a secret such as `whsec_…`; raises BadSecret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise BadSecret(
            "the secret of webhooks must be whsec_ and 24 to 64 bytes in base64; make one with: "
            "python -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\""
        )
    return key


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`."""
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def pause_s(tries: int, most: int) -> float | None:
    """Return how long to wait after so many tries; None: it was the last one."""
    return None if tries >= most else min(FIRST_PAUSE_S * 4 ** (tries - 1), LONGEST_PAUSE_S)


class Webhooks:
    """Calls the webhooks that are due. Any number may hold the same store: each try is one's alone."""

    def __init__(self, store: JobStore, args: WebhookArgs, key: bytes, transport: Any = None) -> None:
        self._store, self._args, self._key = store, args, key
        self._transport = transport
        self._places = asyncio.Semaphore(AT_ONCE)

    async def call_due(self) -> None:
        """Call all that are due."""
        async with asyncio.TaskGroup() as group:
            while (job := await asyncio.to_thread(self._take)) is not None:
                await self._places.acquire()
                group.create_task(self._tell(job))

    def _take(self) -> Job | None:
        now = time.time()
        return self._store.take_webhook(now, calling(now, 2 * self._args.timeout_s + 30))

    async def _tell(self, job: Job) -> None:
        assert job.webhook
        try:
            error, final = await self._sent(job)
            again = None if final else pause_s(job.webhook.tries, self._args.tries)
            with suppress(UnknownJob):  # it was deleted meanwhile
                await asyncio.to_thread(self._store.change, job.id, told(time.time(), again, error))
        finally:
            self._places.release()

    async def _sent(self, job: Job) -> tuple[str | None, bool]:
        """Return what went wrong, if anything, and whether it is of no use to try again."""
        import httpx

        try:
            async with asyncio.timeout(self._args.timeout_s):
                status = await self._post(job)
        except BadRequest as error:
            return error.message, True
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}".rstrip(": "), False
        return (None if 200 <= status < 300 else f"it answered {status}"), status == GONE

    async def _post(self, job: Job) -> int:
        """Send the job to the address that was looked at, whatever its name leads to a moment later."""
        import httpx

        assert job.webhook
        url = job.webhook.url
        address = await asyncio.to_thread(address_of, url, self._args)
        body = json.dumps(rendered(job), ensure_ascii=False).encode()
        host = urlsplit(url).hostname or ""
        target = httpx.URL(url).copy_with(host=address)
        headers = {"host": urlsplit(url).netloc, **self._signed(job, body)}
        async with (
            self._client() as client,
            client.stream(
                "POST", target, content=body, headers=headers, extensions={"sni_hostname": host}
            ) as response,  # what it answers is not read: it may be endless
        ):
            return response.status_code

    def _client(self) -> "httpx.AsyncClient":
        """Return a client that follows nobody: no redirect, no proxy of the environment."""
        import httpx

        return httpx.AsyncClient(
            transport=self._transport, follow_redirects=False, trust_env=False, timeout=self._args.timeout_s
        )

    def _signed(self, job: Job, body: bytes) -> Mapping[str, str]:
        message_id, now = f"msg_{job.id}", int(time.time())
        return {
            "content-type": "application/json",
            "user-agent": "rayscribe",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._key, message_id, now, body),
        }
