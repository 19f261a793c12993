"""A file that a request names by `url`, read into a temporary file within the limits of the configuration."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import cached_property

import httpx
from fastapi import UploadFile

from serve_app.errors import BadUrl, UploadTooLarge, UrlNotAllowed, UrlUnreachable
from serve_app.fetch_args import DEFAULT_PORTS, FetchArgs
from serve_app.wire.addresses import AddressRefused, GuardedTransport, Resolve, resolve
from serve_app.wire.objects import ObjectName, read_object
from serve_app.wire.spool import spooled

MOST_REDIRECTS = 5
CONNECT_S, STALL_S = 10.0, 30.0
"""How long a host may take to answer a connection, and to send the next bytes."""


class Fetcher:
    """Reads what `args` allow, up to `most_bytes`. Errors never tell what a host answered, but for its status."""

    def __init__(self, args: FetchArgs, most_bytes: int, resolve: Resolve = resolve) -> None:
        self._args, self._most, self._resolve = args, most_bytes, resolve

    @asynccontextmanager
    async def fetched(self, url: str) -> AsyncIterator[UploadFile]:
        """Lend the file, which is gone afterwards; raises a `BadUrl`, or `UploadTooLarge`."""
        file = spooled()
        try:
            await self._read(url, file)
            await file.seek(0)
            yield file
        finally:
            await file.close()

    async def _read(self, url: str, file: UploadFile) -> None:
        if not self._args.allow:
            raise UrlNotAllowed("'url' is not offered here; limits.fetch.allow names the hosts that may be read", "url")
        limit_s = self._args.timeout_s
        try:
            async with asyncio.timeout(limit_s) as limit:
                await (self._read_object(url, file) if url.startswith("s3://") else self._read_web(url, file))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise UrlUnreachable(
                f"the file was not there after {limit_s:g} s; send it as an upload, or raise limits.fetch.timeout_s",
                "url",
            ) from error

    async def _read_object(self, url: str, file: UploadFile) -> None:
        name = ObjectName.parse(url)
        if not self._args.allows_object(name.bucket, name.key):
            raise _not_allowed(f"s3://{name.bucket}")
        async with aclosing(read_object(name, self._check)) as chunks:
            async for chunk in chunks:
                await self._write(file, chunk)

    async def _read_web(self, url: str, file: UploadFile) -> None:
        try:
            async with self._client() as client:
                await self._follow(client, client.build_request("GET", _parsed(url)), file)
        except httpx.InvalidURL as error:
            raise BadUrl("'url' leads to an address that cannot be read", "url") from error
        except AddressRefused as error:
            raise UrlNotAllowed(f"{error}; limits.fetch.allow_private names hosts that may", "url") from error
        except httpx.HTTPError as error:
            raise UrlUnreachable(f"the file could not be read: {_reason(error)}", "url") from error

    def _client(self) -> httpx.AsyncClient:
        inner = httpx.AsyncHTTPTransport(verify=self._tls, limits=httpx.Limits(max_keepalive_connections=0))
        return httpx.AsyncClient(
            transport=GuardedTransport(self._args.may_be_private, self._resolve, inner),
            timeout=httpx.Timeout(STALL_S, connect=CONNECT_S),
            headers={"Accept-Encoding": "identity", "User-Agent": "rayscribe"},
            trust_env=False,
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made once: reading all authorities takes tens of milliseconds. `SSL_CERT_FILE` names others."""
        return httpx.create_ssl_context()

    async def _follow(self, client: httpx.AsyncClient, request: httpx.Request, file: UploadFile) -> None:
        for _ in range(MOST_REDIRECTS + 1):
            self._check_host(request.url)
            response = await client.send(request, stream=True)
            async with aclosing(response):
                if response.next_request is None:
                    await self._take(response, file)
                    return
            request = response.next_request
        raise UrlUnreachable(f"'url' is redirected more than {MOST_REDIRECTS} times", "url")

    def _check_host(self, url: httpx.URL) -> None:
        host = _host(url)
        if url.scheme not in DEFAULT_PORTS or not self._args.allows_host(url.scheme, host, url.port):
            port = "" if url.port is None else f":{url.port}"
            raise _not_allowed(f"{url.scheme}://{host}{port}")

    async def _take(self, response: httpx.Response, file: UploadFile) -> None:
        host = _host(response.request.url)
        if response.status_code != 200:
            raise UrlUnreachable(f"'{host}' answers with status {response.status_code}", "url")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise UrlUnreachable(f"'{host}' sends the file compressed, which was not asked for", "url")
        self._check(int(length) if (length := response.headers.get("content-length", "")).isdecimal() else 0)
        async for chunk in response.aiter_raw():
            await self._write(file, chunk)

    async def _write(self, file: UploadFile, chunk: bytes) -> None:
        self._check((file.size or 0) + len(chunk))
        await file.write(chunk)

    def _check(self, size: int) -> None:
        if size > self._most:
            raise UploadTooLarge(
                f"the file at 'url' is larger than the {self._most / 1_000_000:g} MB accepted; "
                "name compressed audio (flac, ogg, mp3), or raise limits.max_upload_mb",
                "url",
            )


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise BadUrl("'url' is no address; write https://host/path or s3://bucket/key", "url") from error
    if parsed.scheme not in DEFAULT_PORTS or not parsed.host:
        raise BadUrl("'url' is no address that can be read; write https://host/path or s3://bucket/key", "url")
    if parsed.userinfo:
        raise BadUrl("'url' carries a name or a password; use an address that is signed, or s3://", "url")
    return parsed


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode().lower().rstrip(".")


def _not_allowed(place: str) -> UrlNotAllowed:
    return UrlNotAllowed(f"files may not be read from {place}; limits.fetch.allow names the places that may", "url")


def _reason(error: httpx.HTTPError) -> str:
    """Say what went wrong in our words: httpx's may quote what a host answered."""
    if isinstance(error, httpx.TimeoutException):
        return "its host does not answer in time"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its host's certificate is not valid for that name (a private authority is named by SSL_CERT_FILE)"
    if isinstance(error, httpx.ConnectError):
        return "its host cannot be reached"
    return "its host broke off, or does not speak HTTP"
