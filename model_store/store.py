"""The store: the shared place that snapshots are published to."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from model_store.errors import CorruptBlob, MissingBlob, MissingManifest, StoreFull, StoreUnreachable, UsageError
from model_store.files import (
    FILE_MODE,
    NO_SPACE,
    fsync_directory,
    make_directory,
    read_chunks,
    write_atomically,
)
from model_store.manifest import Manifest, read_manifest
from model_store.references import is_digest
from model_store.staging import staging_directory, sweep


@dataclass(frozen=True, order=True)
class Ref:
    """A name and a tag, and the digest of the manifest that they stand for."""

    name: str
    tag: str
    digest: str


class Store(Protocol):
    """What publish and fetch need of a place. Every method may raise StoreUnreachable."""

    @property
    def url(self) -> str:
        """How to name this store to a user and to `open_store`."""

    def read_ref(self, name: str, tag: str) -> str | None:
        """The manifest digest that `name@tag` stands for, or None."""

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest, in one step."""

    def list_refs(self) -> list[Ref]:
        """All refs, sorted."""

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest, checked against its digest; raises MissingManifest or ManifestError."""

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest."""

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there (its bytes are not read)."""

    def open_blob(self, digest: str) -> Iterator[bytes]:
        """A blob's bytes in chunks, unchecked; raises MissingBlob."""

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Keep a blob, replacing one that is there; raises CorruptBlob if the bytes are others."""

    def local_path(self, digest: str) -> Path | None:
        """The blob as a file of this machine, if the store is a directory."""


class DirectoryStore:
    """A store in a directory: a disk, a shared volume, or a place inside an image."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()

    @property
    def url(self) -> str:
        """The directory; absolute, for the reader of an error may stand elsewhere."""
        return str(self.root)

    def read_ref(self, name: str, tag: str) -> str | None:
        """The manifest digest that `name@tag` stands for, or None."""
        with self._reaching():
            try:
                text = (self.root / "refs" / name / tag).read_text("utf-8").strip()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._require_root()
                return None
        return text if is_digest(text) else None

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest, in one step."""
        path = self.root / "refs" / name / tag
        with self._reaching():
            try:
                write_atomically(path, f"{digest}\n".encode())
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                raise UsageError(
                    f"{name}@{tag} clashes with a model whose name is a part of it.", "Choose another name or tag."
                ) from None

    def list_refs(self) -> list[Ref]:
        """All refs, sorted."""
        refs: list[Ref] = []
        with self._reaching():
            self._require_root()
            for path in (self.root / "refs").rglob("*"):
                name = path.parent.relative_to(self.root / "refs").as_posix()
                if path.is_file() and not path.name.startswith("."):
                    digest = path.read_text("utf-8").strip()
                    refs += [Ref(name, path.name, digest)] if is_digest(digest) else []
        return sorted(refs)

    def read_manifest(self, digest: str) -> Manifest:
        """A manifest, checked against its digest; raises MissingManifest or ManifestError."""
        with self._reaching():
            try:
                raw = (self.root / "manifests" / f"{digest}.json").read_bytes()
            except FileNotFoundError:
                self._require_root()
                raise MissingManifest(
                    f"The store at {self.url} has no manifest sha256:{digest}.",
                    "Publish the model again: model-store publish NAME.",
                    digest=digest,
                ) from None
        return read_manifest(raw, digest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest."""
        with self._reaching():
            write_atomically(self.root / "manifests" / f"{manifest.digest}.json", manifest.canonical())

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there (its bytes are not read)."""
        with self._reaching():
            try:
                return self._blob(digest).stat().st_size == size
            except FileNotFoundError:
                return False

    def open_blob(self, digest: str) -> Iterator[bytes]:
        """A blob's bytes in chunks, unchecked; raises MissingBlob."""
        # The caller's work happens at `yield`: its errors must not be taken for the store's.
        chunks = read_chunks(self._blob(digest))
        while True:
            with self._reaching():
                try:
                    chunk = next(chunks, b"")
                except FileNotFoundError:
                    self._require_root()
                    raise _missing(digest, self.url) from None
            if not chunk:
                return
            yield chunk

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> None:
        """Keep a blob, replacing one that is there; raises CorruptBlob if the bytes are others."""
        target = self._blob(digest)
        sweep(self.root / "staging")
        with self._reaching(), staging_directory(self.root / "staging") as stage:
            _write_hashed(stage / digest, digest, chunks)
            make_directory(target.parent)
            os.replace(stage / digest, target)
            fsync_directory(target.parent)

    def local_path(self, digest: str) -> Path | None:
        """The blob as a file of this machine."""
        return self._blob(digest)

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def _require_root(self) -> None:
        """A directory that is not there is an absent volume, not an empty store."""
        if not self.root.is_dir():
            raise StoreUnreachable(
                f"There is no store at {self.url}.",
                "Publish a model to it (model-store publish 'demo-*'), mount the volume, or set RAYSCRIBE_STORE.",
                url=self.url,
            )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreFull(f"No space is left in the store at {self.url}.", "Free some, or use another.") from None
            raise StoreUnreachable(
                f"The store at {self.url} fails: {error}.",
                "Check that the volume is mounted and that this user may read (to publish: write) it.",
                url=self.url,
            ) from error


def _missing(digest: str, url: str) -> MissingBlob:
    return MissingBlob(
        f"The store at {url} lacks blob sha256:{digest}.",
        "Publish the model again; what is there is kept, what is missing is added.",
        expected=digest,
        got="",
    )


def _write_hashed(path: Path, digest: str, chunks: Iterable[bytes]) -> None:
    """Write chunks to a new file and fsync it; raise CorruptBlob if they are not `digest`."""
    hasher = sha256()
    with path.open("xb") as file:
        for chunk in chunks:
            hasher.update(chunk)
            file.write(chunk)
        file.flush()
        os.fchmod(file.fileno(), FILE_MODE)
        os.fsync(file.fileno())
    if hasher.hexdigest() != digest:
        raise CorruptBlob(
            f"A blob changed while it was published: expected {digest}, got {hasher.hexdigest()}.",
            "Publish again once nothing writes to the source.",
            expected=digest,
            got=hasher.hexdigest(),
        )


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
