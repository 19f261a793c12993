"""The file of a request, however it came: sent along, or named by `url`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, Protocol

from fastapi import UploadFile

from serve_app.config import LimitArgs
from serve_app.errors import BadAudio, BadRequest, EmptyAudio


class Source(Protocol):
    """Where a form has its file."""

    @property
    def file(self) -> UploadFile | None:
        """The file itself."""

    @property
    def url(self) -> str | None:
        """Where it is to be read from."""


def check_source(file: UploadFile | None, url: str | None) -> None:
    """See that there is one file; raises BadRequest."""
    if file is None and url is None:
        raise BadRequest("'file' is required: send the audio, or name it by 'url'", "file")
    if file is not None and url is not None:
        raise BadRequest("'file' and 'url' are both given; leave out one of them", "url")


class Uploads:
    """The files of requests, within the limits of the configuration."""

    def __init__(self, limits: LimitArgs) -> None:
        self._limits = limits

    @asynccontextmanager
    async def opened(self, source: Source) -> AsyncIterator[BinaryIO]:
        """Lend the file, open and on the disk if it is large; raises a RayscribeError that names `file` or `url`."""
        if source.url is None:
            yield _full(source.file, "file")
            return
        from serve_app.wire.fetching import Fetcher  # httpx takes a fifth of a second, for whoever is asked by url

        fetcher = Fetcher(self._limits.fetch, int(self._limits.max_upload_mb * 1_000_000))
        try:
            async with fetcher.fetched(source.url) as file:
                yield _full(file, "url")
        except BadAudio as error:
            raise type(error)(error.message, "url") from error


def _full(file: UploadFile | None, param: str) -> BinaryIO:
    if file is None or not file.size:
        raise EmptyAudio("the uploaded file is empty (0 bytes)", param)
    return file.file
