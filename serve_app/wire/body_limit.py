"""A bound on the request body, kept while it arrives, before any of it is parsed."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import UploadTooLarge
from serve_app.wire.problems import problem


class BodyLimit:
    """ASGI middleware: answers 413 by the declared length at once, or as soon as more than `most_bytes` have come."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(int(dict(scope["headers"]).get(b"content-length", b"0")))
            await self._app(scope, self._counted(receive), send)
        except UploadTooLarge as error:
            await problem(error)(scope, receive, send)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            self._check(received)
            return message

        return counted

    def _check(self, size: int) -> None:
        if size > self._most:
            megabytes = self._most / 1_000_000
            raise UploadTooLarge(
                f"the upload is larger than the {megabytes:g} MB accepted; "
                "send compressed audio (flac, ogg, mp3), or raise limits.max_upload_mb",
                "file",
            )
