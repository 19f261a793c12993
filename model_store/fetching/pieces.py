"""Pieces: bringing one from the stores, checked; a wrong one is asked for again, then had from the next store."""

import time
from collections.abc import Callable, Iterator
from threading import Lock

from blake3 import blake3

from model_store.errors import CorruptBlob, MissingBlob, ModelStoreError, StoreUnreachable
from model_store.manifest import PIECE, FileEntry, Manifest, Piece
from model_store.stores.base import Store
from model_store.stores.chain import each_store, worst

SMALLEST_READ = 1024 * 1024
QUICK_S, SLOW_S = 1.0, 8.0
Write = Callable[[int, memoryview], None]


class PieceReader:
    """Reads the pieces of one snapshot from a store, or from the stores of a chain; safe in several threads.

    `arrived` is told the bytes of each read, so that a slow line can be told from one that hangs, and the seconds that
    hashing them took.
    """

    def __init__(self, manifest: Manifest, store: Store, arrived: Callable[[int, float], None]) -> None:
        self.manifest, self.arrived = manifest, arrived
        self._stores = list(each_store(store))
        self._lacking: set[tuple[str, str]] = set()
        self._read = SMALLEST_READ
        self._lock = Lock()

    def copy(self, entry: FileEntry, piece: Piece, write: Write) -> None:
        """Bring one piece; raises CorruptBlob, MissingBlob, or StoreUnreachable if asking later may help."""
        errors: list[ModelStoreError] = []
        for store in self._candidates(entry):
            try:
                return self._from(store, entry, piece, write)
            except MissingBlob as error:
                self._lacking.add((store.url, entry.sha256))
                errors.append(error)
            except CorruptBlob as error:
                errors.append(error)
            except StoreUnreachable as error:
                self._put_last(store)
                errors.append(error)
        raise self._named(worst(errors), entry)

    def _candidates(self, entry: FileEntry) -> list[Store]:
        """The stores to ask, those first that have not failed; all, if all lack the blob."""
        with self._lock:
            stores = list(self._stores)
        return [store for store in stores if (store.url, entry.sha256) not in self._lacking] or stores

    def _put_last(self, store: Store) -> None:
        with self._lock:
            self._stores.sort(key=lambda other: other is store)

    def _from(self, store: Store, entry: FileEntry, piece: Piece, write: Write) -> None:
        """A piece from one store, which may try twice."""
        try:
            return self._once(store, entry, piece, write)
        except MissingBlob:
            raise
        except CorruptBlob:
            return self._once(store, entry, piece, write)

    def _once(self, store: Store, entry: FileEntry, piece: Piece, write: Write) -> None:
        hasher, start, end = blake3(), piece.start, piece.start + piece.length
        while start < end:
            for part in self._parts(store, entry.sha256, start, end - start):
                began = time.perf_counter()
                hasher.update(part)
                self.arrived(len(part), time.perf_counter() - began)
                write(start, part)
                start += len(part)
        if hasher.hexdigest() != piece.blake3:
            raise _wrong(store, entry, piece, hasher.hexdigest())

    def _parts(self, store: Store, digest: str, start: int, left: int) -> Iterator[memoryview]:
        """The next bytes of a piece: as many by one request as come in a few seconds, for it may be cut off."""
        began, length = time.monotonic(), min(self._read, left)
        yield from store.iter_blob(digest, start, length)
        took = time.monotonic() - began
        if took < QUICK_S and length == self._read:
            self._read = min(2 * length, PIECE)
        elif took > SLOW_S:
            self._read = max(length // 2, SMALLEST_READ // 16)

    def _named(self, error: ModelStoreError, entry: FileEntry) -> ModelStoreError:
        """The error with the file's path and its model, where the bytes are at fault."""
        if not isinstance(error, CorruptBlob):
            return error
        name = self.manifest.name
        return type(error)(
            f"{entry.path} of {name}@{self.manifest.revision}: {error.problem}",
            f"Publish it again, which replaces what is damaged or missing: model-store publish {name}",
            **{**error.details, "path": entry.path},
        )


def _wrong(store: Store, entry: FileEntry, piece: Piece, got: str) -> CorruptBlob:
    where = f"bytes {piece.start} to {piece.start + piece.length - 1}"
    return CorruptBlob(
        f"blob sha256:{entry.sha256} is damaged in the store at {store.url}: {where} have blake3 {got} instead of "
        f"{piece.blake3}.",
        expected=piece.blake3,
        got=got,
    )
