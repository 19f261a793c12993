"""Chunks that are hashed on their way into a store or out of it."""

import hashlib
from collections.abc import Iterable, Iterator

from model_store.errors import CorruptBlob
from model_store.manifest import FileEntry, Manifest
from model_store.stores.base import Store, changed_blob, stream_blob


class CheckedChunks:
    """Chunks on their way into a store: raises CorruptBlob at the end unless they are `digest`.

    `failure` is what ended them too early.
    """

    def __init__(self, chunks: Iterable[bytes], digest: str, size: int) -> None:
        self.chunks, self.digest, self.size = chunks, digest, size
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        hasher, size = hashlib.sha256(), 0
        try:
            for chunk in self.chunks:
                hasher.update(chunk)
                size += len(chunk)
                if size > self.size:
                    break
                yield chunk
            if hasher.hexdigest() != self.digest:
                raise changed_blob(self.digest, hasher.hexdigest())
        except GeneratorExit:  # the store gave up, not the giver
            raise
        except BaseException as error:
            self.failure = error
            raise


def read_checked(store: Store, entry: FileEntry, manifest: Manifest, mend: str) -> Iterator[bytes]:
    """A blob's bytes on their way out of a store; raises CorruptBlob at the end, with this mend, if they are others."""
    hasher = hashlib.sha256()
    for chunk in stream_blob(store, entry.sha256, entry.size):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != entry.sha256:
        raise CorruptBlob(
            f"{entry.path} of {manifest.name}@{manifest.revision} is damaged in the store at {store.url}: expected "
            f"sha256 {entry.sha256}, got {hasher.hexdigest()}.",
            mend,
            path=entry.path,
            expected=entry.sha256,
            got=hasher.hexdigest(),
        )
