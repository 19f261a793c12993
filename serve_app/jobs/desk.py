"""Jobs as the API sees them: submitted, looked at, cancelled, forgotten; and run, as long as the API is there."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from serve_app.errors import BadRequest
from serve_app.jobs.args import JobsArgs
from serve_app.jobs.job import Job, State, Webhook, content_of, hashed, new_id, transcript_from_json
from serve_app.jobs.steps import cancelled, not_finished
from serve_app.jobs.store import JobStore
from serve_app.jobs.uploads import Uploads
from serve_app.jobs.webhook_hosts import allowed_webhook
from serve_app.jobs.webhooks import Webhooks
from serve_app.jobs.worker import Worker
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.presets import Presets
from serve_app.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for: with which preset and options, and how the result is to be written if nothing else is said.

    `key` is the client's idempotency key. `alone`: no other job's work will do.
    """

    preset: str
    options: RequestOptions
    choices: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    key: str | None = None
    alone: bool = False


class Desk:
    """The jobs of one service; `webhook_key` None: no webhook can be asked for."""

    def __init__(
        self, store: JobStore, uploads: Uploads, presets: Presets, args: JobsArgs, webhook_key: bytes | None = None
    ) -> None:
        self._store, self._uploads, self._args = store, uploads, args
        self._webhook_key = webhook_key
        webhooks = Webhooks(store, args.webhook, webhook_key) if webhook_key else None
        self._worker = Worker(store, uploads, presets, args, webhooks)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run jobs meanwhile."""
        work = asyncio.create_task(self._worker.run())
        try:
            yield
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            self._store.close()

    async def submit(self, upload: Upload, order: Order) -> tuple[Job, bool]:
        """Take a file on; return its job, and whether it is a new one: what is asked for twice is one job.

        Raises `IdempotencyKeyReused`, `JobsUnavailable`, and `BadRequest` for a webhook that may not be called.
        """
        webhook = self._webhook(order.webhook_url)
        digest = await asyncio.to_thread(self._uploads.keep, upload)
        job = _job(digest, order, webhook)
        kept = await asyncio.to_thread(self._store.submit, job, order.key, reuse=not order.alone)
        self._worker.wake()
        return kept, kept.id == job.id

    async def get(self, job_id: str) -> Job:
        """Return one job; raises `UnknownJob`."""
        return await asyncio.to_thread(self._store.get, job_id)

    async def page(self, limit: int, after: str | None, state: State | None) -> Sequence[Job]:
        """Return jobs, newest first."""
        return await asyncio.to_thread(self._store.page, limit, after, state)

    async def cancel(self, job_id: str) -> Job:
        """End a job that is not finished, and return it; its worker stops within a second or two."""
        return await asyncio.to_thread(self._store.change, job_id, cancelled(time.time()))

    async def delete(self, job_id: str) -> None:
        """Forget a job and its result, and stop it if it is running; its file goes within two minutes."""
        await asyncio.to_thread(self._store.remove, job_id)

    async def result(self, job: Job) -> Transcript:
        """Return what a job found out; raises `JobNotFinished`."""
        text = await asyncio.to_thread(self._store.result, job.id) if job.state == "succeeded" else None
        if text is None:
            raise not_finished(job)
        return await asyncio.to_thread(transcript_from_json, text)

    def _webhook(self, url: str | None) -> Webhook | None:
        if url is None:
            return None
        if self._webhook_key is None:
            name = self._args.webhook.secret_env
            raise BadRequest(f"webhook_url: webhooks are off, as the service has no secret in {name}", "webhook_url")
        return Webhook(url=allowed_webhook(url, self._args.webhook))


def _job(upload: str, order: Order, webhook: Webhook | None) -> Job:
    now = time.time()
    content = content_of(upload, order.preset, order.options)
    options = replace(order.options, nonce=uuid.uuid4().hex) if order.alone else order.options
    return Job(
        id=new_id(now),
        preset=order.preset,
        upload=upload,
        options=options,
        choices=order.choices,
        metadata=order.metadata,
        created_at=now,
        due_at=now,
        webhook=webhook,
        content=content_of(upload, order.preset, options),
        request=hashed([content, order.choices, order.metadata, order.webhook_url]),
    )
