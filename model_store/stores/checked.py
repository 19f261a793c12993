"""Chunks that are hashed while they are sent."""

import hashlib
from collections.abc import Iterable, Iterator

from model_store.stores.base import changed_blob


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
