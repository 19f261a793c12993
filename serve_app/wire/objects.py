"""Objects in S3-compatible buckets, read with the credentials of this service's environment."""

import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Self

from obstore import get_async
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from model_store import ModelStoreError
from model_store.stores.object_errors import code_of
from model_store.stores.object_opening import Patience, bucket_backend, bucket_endpoint
from serve_app.errors import BadUrl, UrlUnreachable

STEP = 1 << 20
"""Bytes that are read at a time."""
PATIENCE = Patience(retries=2, retry_for_s=30.0)
"""Somebody waits for the answer: a store that fails is given up sooner than where models are fetched."""

logger = logging.getLogger("ray.serve.rayscribe")


@dataclass(frozen=True, slots=True)
class ObjectName:
    """A bucket, and a key in it."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `s3://bucket/key`, the key as it is; raises BadUrl."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        if not bucket or "@" in bucket or any(part in ("", ".", "..") for part in key.split("/")):
            raise BadUrl("'url' names no object; write s3://bucket/key", "url")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


async def read_object(name: ObjectName, check: Callable[[int], None]) -> AsyncGenerator[bytes]:
    """Yield an object's bytes; `check` is told its size before. Raises UrlUnreachable."""
    try:
        answer = await get_async(_bucket(name.bucket), name.key)
        check(answer.meta["size"])
        async for chunk in answer.stream(min_chunk_size=STEP):
            yield bytes(chunk)
    except (BaseError, ModelStoreError, OSError, ValueError) as error:
        logger.warning("%s cannot be read: %s", name, str(error).partition("\n")[0])
        raise UrlUnreachable(_reason(name, error), "url") from error


def _reason(name: ObjectName, error: Exception) -> str:
    """Say what went wrong in our words: obstore's quote what the server answered."""
    if isinstance(error, FileNotFoundError) and code_of(error) != "NoSuchBucket":
        return f"there is no {name}"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return f"this service's credentials may not read {name}"
    return f"{name} cannot be read; the service's log says why, and its AWS environment names endpoint and credentials"


def _bucket(name: str) -> S3Store:
    return bucket_backend(name, "", bucket_endpoint(), PATIENCE, PATIENCE.stall_s)
