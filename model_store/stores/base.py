"""What every store gives: refs, manifests, signatures and blobs of one layout.

refs/<name>/<tag>           a manifest's digest; the only files that ever change
manifests/<digest>.json     what a snapshot consists of
signatures/<digest>.json    who vouches for a manifest (optional)
blobs/sha256/ab/<digest>    files by content
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model_store.errors import CorruptBlob, MissingBlob, MissingManifest, StoreReadOnly, UsageError
from model_store.files import CHUNK
from model_store.manifest import Manifest


@dataclass(frozen=True, order=True)
class Ref:
    """A name and a tag, and the digest of the manifest that they stand for."""

    name: str
    tag: str
    digest: str


@dataclass(frozen=True)
class Blob:
    """A stored blob: its digest, its size in bytes, and when it was written (seconds since 1970)."""

    digest: str
    size: int
    modified: float


class Store(Protocol):
    """A place that snapshots are published to and fetched from.

    Every method may raise StoreUnreachable; those that write raise StoreReadOnly or StoreFull.
    """

    @property
    def url(self) -> str:
        """How to name this store to a user and to `open_store`."""

    def read_ref(self, name: str, tag: str) -> str | None:
        """The manifest digest that `name@tag` stands for, or None."""

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest, in one step; of two writers the last one wins."""

    def delete_ref(self, name: str, tag: str) -> None:
        """Forget `name@tag`; nothing happens if it is not there."""

    def list_refs(self) -> list[Ref]:
        """All refs, sorted."""

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest, checked against its digest; raises MissingManifest or ManifestError."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest, replacing one that is there."""

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest and its signature; nothing happens if it is not there."""

    def list_manifests(self) -> list[str]:
        """The digests of all manifests, sorted."""

    def read_signature(self, digest: str) -> bytes | None:
        """The signature kept beside a manifest, unchecked, or None."""

    def write_signature(self, digest: str, signature: bytes) -> None:
        """Keep a signature beside a manifest, replacing one that is there."""

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there (its bytes are not read)."""

    def checked_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there, was hashed on its way in, and is kept whole by the store itself.

        False if only reading it tells.
        """

    def read_blob(self, digest: str, start: int, length: int) -> bytes:
        """`length` bytes of a blob from `start`, unchecked; raises MissingBlob, and CorruptBlob if there are fewer.

        Safe to call from several threads at once.
        """

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        """The same bytes in parts as they come, each good until the next is asked for: no copy, and no need to wait.

        Raises as `read_blob` does, if need be after parts that were right so far.
        """

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Keep a blob, replacing one that is there; raises CorruptBlob, and keeps nothing, if the bytes are others."""

    def delete_blob(self, digest: str) -> None:
        """Remove a blob; nothing happens if it is not there."""

    def list_blobs(self) -> Iterator[Blob]:
        """All blobs, in any order."""

    def local_path(self, digest: str) -> Path | None:
        """Where the blob is, or would be, as a file of this machine, if the store is a directory."""


def stream_blob(store: Store, digest: str, size: int, step: int = CHUNK) -> Iterator[bytes]:
    """A blob's bytes in order, `step` at a time, unchecked."""
    for start in range(0, size, step):
        yield store.read_blob(digest, start, min(step, size - start))


def missing_blob(digest: str, url: str) -> MissingBlob:
    """The error of a store that lacks a blob."""
    return MissingBlob(
        f"The store at {url} lacks blob sha256:{digest}.",
        "Publish the model again; what is there is kept, what is missing is added.",
        expected=digest,
        got="",
    )


def missing_manifest(digest: str, url: str) -> MissingManifest:
    """The error of a store that lacks a manifest."""
    return MissingManifest(
        f"The store at {url} has no manifest sha256:{digest}.",
        "Publish the model again: model-store publish NAME.",
        digest=digest,
    )


def short_blob(digest: str, url: str, wanted: str, got: int) -> CorruptBlob:
    """The error of a blob that ends too early."""
    return CorruptBlob(
        f"The store at {url} gives {got} bytes of blob sha256:{digest} instead of {wanted}.",
        "Publish the model again, which replaces damaged blobs.",
        expected=digest,
        got=f"{got} bytes",
    )


def changed_blob(digest: str, got: str) -> CorruptBlob:
    """The error of a blob whose bytes are not those promised, noticed while it is written."""
    return CorruptBlob(
        f"A blob changed while it was published: expected {digest}, got {got}.",
        "Publish again once nothing writes to the source.",
        expected=digest,
        got=got,
    )


def name_clash(name: str, tag: str) -> UsageError:
    """The error of a ref that would be a file where a directory must be, or the other way round."""
    return UsageError(f"{name}@{tag} clashes with a model whose name is a part of it.", "Choose another name or tag.")


def read_only(url: str, why: str) -> StoreReadOnly:
    """The error of a store that cannot be written."""
    return StoreReadOnly(f"The store at {url} cannot be written: {why}.", "Give another with --store.", url=url)
