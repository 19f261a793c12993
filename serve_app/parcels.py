"""Uploads on their way from the process that received them to the pipeline that hears them: by the object store."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

import ray
from blake3 import blake3

from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.reading import opened

INLINE = 1 << 20
"""Bytes that travel inside the call: one message instead of two."""
BLOCK = 8 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file's bytes, inline or as references to blocks in the object store, and their blake3 digest.

    Whoever packed it must live until it is unpacked: the blocks are his.
    """

    digest: str
    data: bytes = b""
    blocks: "tuple[ray.ObjectRef[bytes], ...]" = ()

    def key(self, options: RequestOptions) -> str:
        """Return what is the same for the same file and the same options, and for nothing else."""
        return f"{self.digest}-{blake3(repr(options).encode()).hexdigest()}"


def pack(upload: Upload) -> Parcel:
    """Read an upload once, from its start; at most a block of it is held in memory. Blocks."""
    with opened(upload) as file:
        first = file.read(INLINE)
        digest = blake3(first)
        if len(first) < INLINE:
            return Parcel(digest.hexdigest(), first)
        blocks = [ray.put(first)]
        while block := file.read(BLOCK):
            digest.update(block)
            blocks.append(ray.put(block))
        return Parcel(digest.hexdigest(), blocks=tuple(blocks))


@asynccontextmanager
async def unpacked(parcel: Parcel) -> AsyncIterator[Upload]:
    """Lend the upload: a small one as bytes, others as an open file that is gone afterwards."""
    if not parcel.blocks:
        yield parcel.data
        return
    with tempfile.TemporaryFile(prefix="rayscribe-") as file:
        await asyncio.to_thread(_write, file, parcel.blocks)
        yield file


def _write(file: BinaryIO, blocks: "Sequence[ray.ObjectRef[bytes]]") -> None:
    for block in blocks:
        file.write(ray.get(block))
    file.flush()
