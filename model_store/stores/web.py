"""A store behind a web server: what another store wrote, served as plain files; it can only be read."""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import obstore
from obstore.exceptions import BaseError

from model_store.errors import NotListable, StoreUnreachable
from model_store.manifest import Manifest
from model_store.references import check_name, check_tag, is_digest
from model_store.stores.base import Blob, Ref, read_only
from model_store.stores.object_errors import Place
from model_store.stores.objects import ObjectStore

if TYPE_CHECKING:
    from obstore.store import HTTPStore

INDEX = "refs/index.json"
MOST_SKIPPED = 64 * 1024 * 1024
"""A server without ranges is read from the start; further in than this, that would send gigabytes again and again."""


class WebStore(ObjectStore):
    """The store below a URL. Listing refs needs `refs/index.json`: what `model-store list --json` prints."""

    def __init__(self, backend: "HTTPStore", url: str) -> None:
        super().__init__(backend, Place(url, url), checksums=False)

    def list_refs(self) -> list[Ref]:
        """The refs of `refs/index.json`, sorted; raises NotListable without it."""
        raw = self._read(INDEX)
        if raw is None:
            raise self._not_listable()
        try:
            return sorted(_ref(entry) for entry in json.loads(raw))
        except (ValueError, TypeError, KeyError):
            raise StoreUnreachable(
                f"{self.url}/{INDEX} is not a list of refs.",
                f"Write it again: model-store list --json >{INDEX}",
                url=self.url,
            ) from None

    def list_manifests(self) -> list[str]:
        """Not possible; raises NotListable."""
        raise self._not_listable()

    def list_blobs(self) -> Iterator[Blob]:
        """Not possible; raises NotListable."""
        raise self._not_listable()

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def delete_ref(self, name: str, tag: str) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def write_manifest(self, manifest: Manifest) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def delete_manifest(self, digest: str) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def write_signature(self, digest: str, signature: bytes) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def delete_blob(self, digest: str) -> None:
        """Not possible; raises StoreReadOnly."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise read_only(self.url, "a web server only gives files")

    def _not_listable(self) -> NotListable:
        return NotListable(
            f"The store at {self.url} cannot say what it holds: web servers do not list.",
            f"Name a model and tag, or put an index there: model-store list --json >{INDEX} in the store's directory.",
            url=self.url,
        )

    def _require_answer(self, error: Exception) -> None:
        """404 is all that a web server can say."""

    def _range(self, path: str, start: int, end: int) -> Iterator[memoryview]:
        try:
            yield from super()._range(path, start, end)
        except BaseError as error:
            if "range" not in str(error).partition("\n")[0].lower() or "416" in str(error):
                raise
            yield from self._skip_to(path, start, end)

    def _skip_to(self, path: str, start: int, end: int) -> Iterator[memoryview]:
        """A range from a server that always sends the whole file."""
        if start > MOST_SKIPPED:
            raise StoreUnreachable(
                f"The web server at {self.url} ignores Range requests, so big files cannot be read from it.",
                "Serve the store with one that honours them (nginx, Caddy, Apache).",
                url=self.url,
            )
        position = 0
        for part in obstore.get(self.backend, path):
            wanted = memoryview(part)[max(start - position, 0) : max(end - position, 0)]
            if wanted:
                yield wanted
            position += len(part)
            if position >= end:
                break


def _ref(entry: Any) -> Ref:
    if not is_digest(entry["digest"]):
        raise ValueError(entry["digest"])
    return Ref(check_name(entry["name"]), check_tag(entry["tag"]), entry["digest"])
