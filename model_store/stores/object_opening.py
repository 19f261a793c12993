"""From `s3://…` and `http(s)://…` and the standard AWS environment to a store; nothing is asked of a server yet."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import HTTPStore, S3Store

from model_store.errors import UsageError
from model_store.stores.object_errors import Place
from model_store.stores.objects import ObjectStore
from model_store.stores.web import WebStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
AWS = "https://s3.{region}.amazonaws.com"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds: to connect, for the next byte (upload: for a part to be taken).

    5xx, 429, cut and stalled requests are sent again, `retries` times or until `retry_for_s` have passed; the first
    wait is `wait_s`, the next ones grow.
    """

    connect_s: float = 10.0
    stall_s: float = 30.0
    upload_s: float = 300.0
    request_s: float = 900.0
    retries: int = 5
    retry_for_s: float = 120.0
    wait_s: float = 0.2

    def retrying(self) -> "RetryConfig":
        """As obstore takes it; it does not read Retry-After."""
        return {
            "max_retries": self.retries,
            "retry_timeout": timedelta(seconds=self.retry_for_s),
            "backoff": {"init_backoff": timedelta(seconds=self.wait_s)},
        }

    def client(self, endpoint: str, stall_s: float) -> "ClientConfig":
        """As obstore takes it; plain http only if the endpoint says so."""
        options: ClientConfig = {
            "connect_timeout": timedelta(seconds=self.connect_s),
            "read_timeout": timedelta(seconds=stall_s),
            "timeout": timedelta(seconds=self.request_s),
            "allow_http": endpoint.startswith("http://"),
        }
        authority = os.environ.get("AWS_CA_BUNDLE")
        if authority:
            options["root_certificate"] = _certificates(authority)
        return options


PATIENCE = Patience()


def open_bucket(url: str, patience: Patience = PATIENCE) -> ObjectStore:
    """The store at `s3://bucket[/prefix]`; raises UsageError.

    Endpoint, region and credentials (keys, web identity, container, instance) come from the AWS environment.
    """
    bucket, prefix = split_bucket(url)
    endpoint = bucket_endpoint()
    reading = bucket_backend(bucket, prefix, endpoint, patience, patience.stall_s)
    writing = partial(bucket_backend, bucket, prefix, endpoint, patience, patience.upload_s)
    place = Place(f"s3://{bucket}/{prefix}".rstrip("/"), endpoint or AWS.format(region=bucket_region()), bucket)
    return ObjectStore(reading, place, writing=writing)


def open_web(url: str, patience: Patience = PATIENCE) -> WebStore:
    """The store below `http(s)://host/base`; raises UsageError."""
    url = check_web(url)
    return WebStore(web_backend(url, patience), url)


def bucket_backend(bucket: str, prefix: str, endpoint: str, patience: Patience, stall_s: float) -> S3Store:
    """An S3 client; virtual-hosted style for AWS itself, path style elsewhere unless AWS_VIRTUAL_HOSTED_STYLE_REQUEST.

    Deletes go one by one: not every server has the bulk request.
    """
    config: S3Config = {"endpoint": endpoint} if endpoint else {"virtual_hosted_style_request": "." not in bucket}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config={**config, "region": bucket_region(), "disable_bulk_delete": True},
        client_options=patience.client(endpoint, stall_s),
        retry_config=patience.retrying(),
    )


def web_backend(url: str, patience: Patience) -> HTTPStore:
    """An HTTP client for the files below a URL."""
    return HTTPStore(url, client_options=patience.client(url, patience.stall_s), retry_config=patience.retrying())


def bucket_endpoint() -> str:
    """The S3 server that the environment names, or an empty string for AWS itself; raises UsageError."""
    name, endpoint = next(((n, os.environ[n]) for n in ENDPOINTS if os.environ.get(n)), ("", ""))
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise UsageError(f"{name}={endpoint!r} is not a URL.", f"Write {name}=https://host[:port].")
    return endpoint.rstrip("/")


def split_bucket(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket[/prefix]`; raises UsageError."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if not bucket or "@" in bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise UsageError(
            f"{_without_password(url)!r} names no bucket.",
            "Write s3://bucket or s3://bucket/prefix; keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    return bucket, prefix


def check_web(url: str) -> str:
    """A web address without its last slash; raises UsageError for one that carries a password or a query."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(
            f"{_without_password(url)!r} is not an address to read from.",
            "Write https://host/path, without a password or a query.",
        )
    return url.rstrip("/")


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def bucket_region() -> str:
    """The region that the environment names; servers other than AWS mostly take any."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _certificates(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"AWS_CA_BUNDLE={path} cannot be read: {error.strerror}.", "Correct or unset it.") from None
