"""From a URL to a store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from model_store.errors import UsageError
from model_store.stores.base import Store
from model_store.stores.directory import DirectoryStore


def open_store(url: str | Path) -> Store:
    """The store at a path or a `file://` URL."""
    if isinstance(url, Path):
        return DirectoryStore(url)
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme == "file":
        return DirectoryStore(unquote(urlsplit(url).path))
    if scheme:
        raise UsageError(f"No store speaks {scheme}:// yet: {url}.", "Give a directory, or file:///path.")
    return DirectoryStore(url)
