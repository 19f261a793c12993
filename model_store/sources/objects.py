"""Buckets and web servers as sources."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from model_store.errors import SourceNotFound, UsageError
from model_store.manifest import Origin, check_path
from model_store.references import is_digest
from model_store.sources.base import Collected, allowed
from model_store.sources.downloads import Downloads
from model_store.sources.scratch import Scratch
from model_store.stores.object_errors import Place
from model_store.stores.object_opening import (
    AWS,
    PATIENCE,
    bucket_backend,
    bucket_endpoint,
    bucket_region,
    check_web,
    split_bucket,
    web_backend,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend

_SHA256 = "#sha256="


class BucketSource:
    """The objects below `s3://bucket/prefix`, with the standard AWS environment; `allow`: glob patterns."""

    def __init__(self, url: str, allow: tuple[str, ...] = ()) -> None:
        self.url, self.allow = url.rstrip("/"), allow
        self.bucket, self.prefix = split_bucket(url)

    def collect(self) -> Collected:
        """Download the objects that are wanted; raises SourceError."""
        endpoint = bucket_endpoint()
        place = Place(self.url, endpoint or AWS.format(region=bucket_region()), self.bucket, "source")
        backend = bucket_backend(self.bucket, self.prefix, endpoint, PATIENCE, PATIENCE.stall_s)
        files, scratch = collect(backend, place, lambda downloads: self._wanted(downloads))
        return Collected(Origin(url=self.url), files, discard=scratch.discard)

    def _wanted(self, downloads: Downloads) -> list[str]:
        try:
            pages = [found["path"] for page in obstore.list(downloads.backend) for found in page]
        except (OSError, ValueError, BaseError) as error:
            raise downloads.explained(error) from error
        # A name that ends in a slash is what some tools make to show a folder.
        wanted = [path for path in pages if allowed(path, self.allow) and not path.endswith("/")]
        if not wanted:
            raise SourceNotFound(f"{self.url} holds no object to publish.", "Check the prefix and `allow`.")
        return wanted


class WebSource:
    """Files below `http(s)://host/base`: those that `allow` names, or the one that the address ends with.

    A name may promise its bytes: `model.bin#sha256=<64 hex digits>`.
    """

    def __init__(self, url: str, allow: tuple[str, ...] = (), origin: str = "") -> None:
        url, promise, digest = url.partition(_SHA256)
        url = check_web(url)
        if not allow and url.count("/") > 2:
            url, _, last = url.rpartition("/")
            allow = (last + promise + digest,)
        self.url, self.origin = url, origin or url
        self.paths = [_plain(name.partition(_SHA256)[0]) for name in allow]
        if not self.paths:
            raise UsageError(f"No file is named below {self.url}: web servers do not list.", "Name them in `allow`.")
        self.sha256 = {path: _digest(name) for path, name in zip(self.paths, allow, strict=True) if _SHA256 in name}

    def collect(self) -> Collected:
        """Download the named files; raises SourceError."""
        place = Place(self.url, self.url, what="source")
        files, scratch = collect(web_backend(self.url, PATIENCE), place, lambda downloads: self.paths)
        return Collected(Origin(url=self.origin), files, self.sha256, discard=scratch.discard)


def collect(
    backend: "Backend", place: Place, wanted: Callable[[Downloads], Iterable[str]]
) -> tuple[dict[str, Path], Scratch]:
    """Download the wanted files of a place into a scratch directory, which the next one takes over if this fails."""
    scratch = Scratch(place.url)
    downloads = Downloads(backend, place, scratch.path)
    try:
        files = {check_path(path): downloads.get(path) for path in sorted(wanted(downloads))}
    except BaseException:
        scratch.release()
        raise
    return files, scratch


def _plain(path: str) -> str:
    """A path without wildcards."""
    if any(character in path for character in "*?["):
        raise UsageError(f"{path!r} is a pattern, and web servers do not list.", "Name each file in `allow`.")
    return check_path(path)


def _digest(name: str) -> str:
    digest = name.partition(_SHA256)[2]
    if not is_digest(digest):
        raise UsageError(f"{name!r} does not end in a sha256.", "Write path#sha256=<64 hex digits>.")
    return digest
