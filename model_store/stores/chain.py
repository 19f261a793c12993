"""Several stores as one: what the first cannot give, the next one may."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from model_store.errors import (
    CorruptBlob,
    ManifestError,
    MissingBlob,
    MissingManifest,
    ModelStoreError,
    StoreReadOnly,
    StoreUnreachable,
    UsageError,
)
from model_store.manifest import Manifest
from model_store.stores.base import Blob, Ref, Store

log = logging.getLogger(__name__)
T = TypeVar("T")
ELSEWHERE = (MissingManifest, ManifestError, CorruptBlob, StoreUnreachable)


class StoreChain:
    """Stores in the order of asking: an image's own, then a volume, then a bucket.

    The first that has a thing gives it; one that cannot be reached is passed over with a warning, and only where no
    other helps it is an error. Writes go to the first store that is not read-only.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        self.stores = tuple(part for store in stores for part in each_store(store))
        if not self.stores:
            raise UsageError("A chain of no stores.", "Give at least one store.")

    @property
    def url(self) -> str:
        """The stores' own, joined with commas."""
        return ",".join(store.url for store in self.stores)

    def read_ref(self, name: str, tag: str) -> str | None:
        """The digest by the first store that knows `name@tag`; None if all say that they do not."""
        return self._first_filled(lambda store: store.read_ref(name, tag))

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest."""
        self._write(lambda store: store.write_ref(name, tag, digest))

    def delete_ref(self, name: str, tag: str) -> None:
        """Forget `name@tag` where it can be written."""
        self._write(lambda store: store.delete_ref(name, tag))

    def list_refs(self) -> list[Ref]:
        """All refs, sorted; of two for one name and tag the one that `read_ref` gives."""
        found: dict[tuple[str, str], Ref] = {}
        for refs in self._all(lambda store: store.list_refs()):
            found = {(ref.name, ref.tag): ref for ref in refs} | found
        return sorted(found.values())

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest from the first store that has it whole; raises MissingManifest or ManifestError."""
        return self._first(lambda store: store.read_manifest(digest))

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest."""
        self._write(lambda store: store.write_manifest(manifest))

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest and its signature where it can be written."""
        self._write(lambda store: store.delete_manifest(digest))

    def list_manifests(self) -> list[str]:
        """The digests of all manifests, sorted."""
        return sorted({digest for found in self._all(lambda store: store.list_manifests()) for digest in found})

    def read_signature(self, digest: str) -> bytes | None:
        """The signature by the first store that has one, or None."""
        return self._first_filled(lambda store: store.read_signature(digest))

    def write_signature(self, digest: str, signature: bytes) -> None:
        """Keep a signature beside a manifest."""
        self._write(lambda store: store.write_signature(digest, signature))

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether any store has a blob of this size."""
        return bool(self._first_filled(lambda store: store.has_blob(digest, size) or None))

    def checked_blob(self, digest: str, size: int) -> bool:
        """Whether the first store that has a blob of this size vouches for its bytes itself."""
        held = self._first_filled(lambda store: store if store.has_blob(digest, size) else None)
        return held is not None and held.checked_blob(digest, size)

    def read_blob(self, digest: str, start: int, length: int) -> bytes:
        """`length` bytes of a blob from the first store that has them, unchecked; raises MissingBlob or CorruptBlob."""
        return self._first(lambda store: store.read_blob(digest, start, length))

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        """The same as one part: what a store has given cannot be taken back when the next one is asked."""
        yield memoryview(self.read_blob(digest, start, length))

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Keep a blob in the first store that takes it."""
        rest = _Once(chunks)
        self._write(lambda store: store.put_blob(digest, size, rest), lambda: not rest.begun)

    def delete_blob(self, digest: str) -> None:
        """Remove a blob where it can be written."""
        self._write(lambda store: store.delete_blob(digest))

    def list_blobs(self) -> Iterator[Blob]:
        """All blobs, each once."""
        seen: set[str] = set()
        for blobs in self._all(lambda store: list(store.list_blobs())):
            for blob in blobs:
                if blob.digest not in seen:
                    seen.add(blob.digest)
                    yield blob

    def local_path(self, digest: str) -> Path | None:
        """The first file of this machine that is there."""
        paths = (store.local_path(digest) for store in self.stores)
        return next((path for path in paths if path is not None and path.is_file()), None)

    def _first(self, ask: Callable[[Store], T]) -> T:
        """The first answer; else the error of the store that comes nearest to having one."""
        errors: list[ModelStoreError] = []
        for store in self.stores:
            try:
                return ask(store)
            except ELSEWHERE as error:
                _warn(error)
                errors.append(error)
        raise worst(errors)

    def _first_filled(self, ask: Callable[[Store], T | None]) -> T | None:
        """The first answer that is not None; None is believed only if every store could be asked."""
        failed: list[ModelStoreError] = []
        for store in self.stores:
            try:
                if (answer := ask(store)) is not None:
                    return answer
            except StoreUnreachable as error:
                _warn(error)
                failed.append(error)
        if failed:
            raise worst(failed)
        return None

    def _all(self, ask: Callable[[Store], T]) -> Iterator[T]:
        """The answers of all that can be reached; raises StoreUnreachable if none can."""
        failed: list[ModelStoreError] = []
        for store in self.stores:
            try:
                answer = ask(store)
            except StoreUnreachable as error:
                _warn(error)
                failed.append(error)
            else:
                yield answer
        if len(failed) == len(self.stores):
            raise worst(failed)

    def _write(self, act: Callable[[Store], None], again: Callable[[], bool] = lambda: True) -> None:
        """Act on the first store that can be written."""
        for number, store in enumerate(self.stores, 1):
            try:
                return act(store)
            except StoreReadOnly:
                if number == len(self.stores) or not again():
                    raise
        return None


class _Once:
    """Chunks that can be taken once, and whether that has begun."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        yield from self._chunks


def chain(stores: Sequence[Store]) -> Store:
    """One store for several, in the order of asking; raises UsageError for none."""
    return stores[0] if len(stores) == 1 else StoreChain(stores)


def each_store(store: Store) -> tuple[Store, ...]:
    """The stores of a chain in their order; any other store alone."""
    return store.stores if isinstance(store, StoreChain) else (store,)


def worst(errors: Sequence[ModelStoreError]) -> ModelStoreError:
    """Of several stores' errors the one to raise: what may pass, else what is damaged, else what is missing."""
    unreachable = [error for error in errors if isinstance(error, StoreUnreachable)]
    if len(unreachable) > 1:
        return StoreUnreachable(
            " ".join(error.problem for error in unreachable),
            unreachable[0].mend,
            url=",".join(str(error.details.get("url", "")) for error in unreachable),
        )
    damaged = [error for error in errors if not isinstance(error, MissingBlob | MissingManifest)]
    return (unreachable or damaged or list(errors))[0]


def _warn(error: ModelStoreError) -> None:
    if isinstance(error, StoreUnreachable):
        log.warning("%s The next store is asked.", error.problem)
