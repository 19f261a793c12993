"""A store in a bucket, through obstore: any S3 server, and obstore's own memory and local stores."""

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError

from model_store.errors import ModelStoreError
from model_store.manifest import Manifest, read_manifest
from model_store.references import is_digest
from model_store.stores.base import Blob, Ref, missing_blob, missing_manifest, name_clash, short_blob
from model_store.stores.checked import CheckedChunks
from model_store.stores.object_errors import Place, code_of, explain, status_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Backend

PART = 8 * 1024 * 1024
"""Bytes of a part of an upload; up to `PARTS_AT_ONCE` of a blob are in memory."""
PARTS_AT_ONCE = 4
READ = 512 * 1024
"""Bytes of a part of a download at least, if there are as many."""
MOST_PARTS = 9_000
REFS_AT_ONCE = 8
_CHECKSUM = "sha256"
_RANGE = re.compile(r"\b416\b|[Rr]ange")


class ObjectStore:
    """A store over an obstore backend. `writing` makes another with more patience, for uploads.

    `checksums`: whether the backend keeps metadata beside an object; the sha256 goes there.
    """

    def __init__(
        self,
        backend: "Backend",
        place: Place,
        *,
        writing: "Callable[[], Backend] | None" = None,
        checksums: bool = True,
    ) -> None:
        self.backend, self.place, self.checksums = backend, place, checksums
        self._writing = writing
        self._answered = False

    @cached_property
    def _writer(self) -> "Backend":
        """Made when it is needed: a client takes some 50 ms, and most only read."""
        return self._writing() if self._writing else self.backend

    @property
    def url(self) -> str:
        """The store's URL, as `open_store` takes it."""
        return self.place.url

    def read_ref(self, name: str, tag: str) -> str | None:
        """The manifest digest that `name@tag` stands for, or None."""
        raw = self._read(_ref(name, tag))
        text = raw.decode("utf-8", "replace").strip() if raw is not None else ""
        return text if is_digest(text) else None

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest; raises UsageError where a directory store could not hold it."""
        self._require_no_clash(name, tag)
        self._write(_ref(name, tag), f"{digest}\n".encode())

    def delete_ref(self, name: str, tag: str) -> None:
        """Forget `name@tag`."""
        self._delete(_ref(name, tag))

    def list_refs(self) -> list[Ref]:
        """All refs, sorted."""
        found = [path.split("/")[1:] for path, _, _ in self._list("refs")]
        names = [("/".join(parts[:-1]), parts[-1]) for parts in found if len(parts) > 1]
        with ThreadPoolExecutor(REFS_AT_ONCE) as pool:
            digests = list(pool.map(lambda pair: self.read_ref(*pair), names))
        return sorted(Ref(name, tag, digest) for (name, tag), digest in zip(names, digests, strict=True) if digest)

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest, checked against its digest; raises MissingManifest or ManifestError."""
        raw = self._read(_manifest(digest))
        if raw is None:
            raise missing_manifest(digest, self.url)
        return read_manifest(raw, digest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest."""
        self._write(_manifest(manifest.digest), manifest.canonical())

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest and its signature."""
        self._delete(_manifest(digest))
        self._delete(_signature(digest))

    def list_manifests(self) -> list[str]:
        """The digests of all manifests, sorted."""
        stems = [path.removeprefix("manifests/").removesuffix(".json") for path, _, _ in self._list("manifests")]
        return sorted(stem for stem in stems if is_digest(stem))

    def read_signature(self, digest: str) -> bytes | None:
        """The signature kept beside a manifest, or None."""
        return self._read(_signature(digest))

    def write_signature(self, digest: str, signature: bytes) -> None:
        """Keep a signature beside a manifest."""
        self._write(_signature(digest), signature)

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there (its bytes are not read)."""
        return self._size(_blob(digest)) == size

    def checked_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there whose sha256 was checked while it was uploaded."""
        if not self.checksums:
            return False
        with self._reaching():
            try:
                found = obstore.get(self.backend, _blob(digest), options={"head": True})
            except FileNotFoundError as error:
                self._require_answer(error)
                return False
        return found.meta["size"] == size and found.attributes.get(_CHECKSUM) == digest

    def read_blob(self, digest: str, start: int, length: int) -> bytes:
        """`length` bytes of a blob from `start`; raises MissingBlob or CorruptBlob."""
        return b"".join(self.iter_blob(digest, start, length))

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        """The same bytes in parts, as they come over one connection."""
        if length <= 0:  # S3 has no empty ranges.
            if self._size(_blob(digest)) is None:
                raise missing_blob(digest, self.url)
            return
        position, end = start, start + length
        try:
            for part in self._range(_blob(digest), start, end):
                yield part
                position += len(part)
        except (FileNotFoundError, BaseError) as error:
            raise self._why_unread(error, digest, end) from None
        if position != end:
            raise short_blob(digest, self.url, f"{end}", position)

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Upload a blob, checked on the way; raises CorruptBlob, and leaves no trace, if the bytes are others."""
        fed = CheckedChunks(chunks, digest, size)
        try:
            with self._reaching(writing=True):
                obstore.put(
                    self._writer,
                    _blob(digest),
                    b"".join(fed) if size <= PART else iter(fed),
                    attributes={_CHECKSUM: digest} if self.checksums else None,
                    use_multipart=size > PART,
                    chunk_size=max(PART, -(-size // MOST_PARTS)),
                    max_concurrency=PARTS_AT_ONCE,
                )
        except ModelStoreError:
            # An OSError of whoever gives the bytes is not the store's.
            if fed.failure is not None:
                raise fed.failure from None
            raise

    def delete_blob(self, digest: str) -> None:
        """Remove a blob."""
        self._delete(_blob(digest))

    def list_blobs(self) -> Iterator[Blob]:
        """All blobs."""
        for path, size, modified in self._list("blobs/sha256"):
            digest = path.rpartition("/")[2]
            if is_digest(digest):
                yield Blob(digest, size, modified)

    def local_path(self, digest: str) -> Path | None:
        """None: a bucket's blobs are no files of this machine."""
        return None

    def _read(self, path: str) -> bytes | None:
        """All of a small object, or None."""
        with self._reaching():
            try:
                return bytes(obstore.get(self.backend, path).bytes())
            except FileNotFoundError as error:
                self._require_answer(error)
                return None

    def _range(self, path: str, start: int, end: int) -> Iterator[memoryview]:
        found = obstore.get(self.backend, path, options={"range": (start, end)})
        for part in found.stream(min_chunk_size=READ):
            yield memoryview(part)

    def _why_unread(self, error: Exception, digest: str, end: int) -> ModelStoreError:
        """A range past the end is an error of another kind for each backend: ask for the size."""
        if not isinstance(error, FileNotFoundError) and not _RANGE.search(str(error).partition("\n")[0]):
            return self._explained(error)
        size = self._size(_blob(digest))
        if size is None:
            return missing_blob(digest, self.url)
        return short_blob(digest, self.url, f"{end}", size) if size < end else self._explained(error)

    def _write(self, path: str, content: bytes) -> None:
        with self._reaching(writing=True):
            obstore.put(self._writer, path, content, use_multipart=False)

    def _delete(self, path: str) -> None:
        with self._reaching(writing=True):
            try:
                obstore.delete(self._writer, path)
            except FileNotFoundError as error:
                self._require_answer(error)

    def _size(self, path: str) -> int | None:
        """An object's size in bytes, or None if there is none."""
        with self._reaching():
            try:
                return obstore.head(self.backend, path)["size"]
            except FileNotFoundError as error:
                self._require_answer(error)
                return None

    def _list(self, prefix: str) -> Iterator[tuple[str, int, float]]:
        """Path, size in bytes and time (seconds since 1970) of each object below `prefix`."""
        with self._reaching():
            for batch in obstore.list(self.backend, prefix, chunk_size=1000):
                for found in batch:
                    yield found["path"], found["size"], found["last_modified"].timestamp()

    def _require_no_clash(self, name: str, tag: str) -> None:
        """A directory holds no file where another directory is: what is published here must fit there too."""
        above = name.split("/")
        files = ["/".join(["refs", *above[:end]]) for end in range(2, len(above) + 1)]
        if any(self._size(path) is not None for path in files) or any(True for _ in self._list(_ref(name, tag))):
            raise name_clash(name, tag)

    def _require_answer(self, error: Exception) -> None:
        """A bucket that is not there is not an empty store; S3 says "not found" to both, and to HEAD without a word."""
        if not self._answered and code_of(error) != "NoSuchKey":
            self._ask()
            self._answered = True

    def _ask(self) -> None:
        """List one page, for its answer to be worded."""
        try:
            next(iter(obstore.list(self.backend, "refs")), None)
        except (OSError, ValueError, BaseError) as error:
            raise explain(error, self.place) from error

    @contextmanager
    def _reaching(self, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, BaseError) as error:
            raise self._explained(error, writing=writing) from error

    def _explained(self, error: Exception, *, writing: bool = False) -> ModelStoreError:
        if self.place.bucket and status_of(error) == 403 and not code_of(error) and self.place.endpoint in str(error):
            try:
                self._ask()
            except ModelStoreError as reason:
                return reason
        return explain(error, self.place, writing=writing)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest}"


def _manifest(digest: str) -> str:
    return f"manifests/{digest}.json"


def _signature(digest: str) -> str:
    return f"signatures/{digest}.json"


def _ref(name: str, tag: str) -> str:
    return f"refs/{name}/{tag}"
