"""From a URL to a store, from several to a chain."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.errors import UsageError
from model_store.stores.base import Store
from model_store.stores.directory import DirectoryStore
from model_store.stores.object_opening import open_bucket, open_web


def open_store(url: str | Path | Sequence[str | Path]) -> Store:
    """The store at a path, `file://`, `s3://bucket/prefix` or `http(s)://host/base`.

    Several, in a sequence or separated by commas, are read in that order.
    """
    from model_store.stores.chain import chain

    return chain([_open(part) for part in _parts(url)])


def _parts(url: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """The single stores; a directory whose name holds a comma is one if it is there."""
    if isinstance(url, Path) or (isinstance(url, str) and Path(url).exists()):
        return [url]
    return [part.strip() for part in url.split(",")] if isinstance(url, str) else url


def _open(url: str | Path) -> Store:
    if isinstance(url, Path):
        return DirectoryStore(url)
    if not url:
        raise UsageError("The name of a store is empty.", "Give one with --store, or set RAYSCRIBE_STORE.")
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme == "file":
        return DirectoryStore(unquote(urlsplit(url).path))
    if scheme == "s3":
        return open_bucket(url)
    if scheme in ("http", "https"):
        return open_web(url)
    if scheme:
        raise UsageError(
            f"No store speaks {scheme}://: {url}.",
            "Give a directory, file:///path, s3://bucket/prefix or https://host/base.",
        )
    return DirectoryStore(url)
