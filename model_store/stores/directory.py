"""A store in a directory: a disk, a shared volume, or a place inside an image."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from model_store.errors import StoreFull, StoreUnreachable
from model_store.files import (
    FILE_MODE,
    NO_SPACE,
    READ_ONLY,
    fsync_directory,
    make_directory,
    write_atomically,
)
from model_store.manifest import Manifest, read_manifest
from model_store.references import is_digest
from model_store.staging import staging_directory, sweep
from model_store.stores.base import (
    Blob,
    Ref,
    changed_blob,
    missing_blob,
    missing_manifest,
    name_clash,
    read_only,
    short_blob,
)

READ = 256 * 1024
"""Bytes of a part that is read: they are hashed and written while they are still in the processor's cache."""


class DirectoryStore:
    """A store in a directory; it needs neither locks nor links of its file system, only an atomic rename."""

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
                text = self._ref(name, tag).read_text("utf-8").strip()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._require_root()
                return None
        return text if is_digest(text) else None

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        """Let `name@tag` stand for a manifest, in one step."""
        with self._reaching():
            try:
                write_atomically(self._ref(name, tag), f"{digest}\n".encode())
            except (NotADirectoryError, IsADirectoryError, FileExistsError):
                raise name_clash(name, tag) from None

    def delete_ref(self, name: str, tag: str) -> None:
        """Forget `name@tag`."""
        self._unlink(self._ref(name, tag))

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
        raw = self._read(self._manifest(digest))
        if raw is None:
            raise missing_manifest(digest, self.url)
        return read_manifest(raw, digest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Keep a manifest under its digest."""
        with self._reaching():
            write_atomically(self._manifest(manifest.digest), manifest.canonical())

    def delete_manifest(self, digest: str) -> None:
        """Remove a manifest and its signature."""
        self._unlink(self._manifest(digest))
        self._unlink(self._signature(digest))

    def list_manifests(self) -> list[str]:
        """The digests of all manifests, sorted."""
        with self._reaching():
            self._require_root()
            return sorted(path.stem for path in (self.root / "manifests").glob("*.json") if is_digest(path.stem))

    def read_signature(self, digest: str) -> bytes | None:
        """The signature kept beside a manifest, or None."""
        return self._read(self._signature(digest))

    def write_signature(self, digest: str, signature: bytes) -> None:
        """Keep a signature beside a manifest."""
        with self._reaching():
            write_atomically(self._signature(digest), signature)

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob of this size is there (its bytes are not read)."""
        with self._reaching():
            try:
                return self._blob(digest).stat().st_size == size
            except FileNotFoundError:
                return False

    def checked_blob(self, digest: str, size: int) -> bool:
        """False: disks rot, and others write to shared volumes."""
        return False

    def read_blob(self, digest: str, start: int, length: int) -> bytes:
        """`length` bytes of a blob from `start`; raises MissingBlob or CorruptBlob."""
        return b"".join(bytes(part) for part in self.iter_blob(digest, start, length))

    def iter_blob(self, digest: str, start: int, length: int) -> Iterator[memoryview]:
        """The same bytes in parts that share one buffer, small enough for the processor's cache."""
        with self._opened(digest) as descriptor:
            buffer, end = memoryview(bytearray(min(length, READ))), start + length
            while start < end:
                with self._reaching():
                    count = os.preadv(descriptor, [buffer[: end - start]], start)
                if not count:
                    raise short_blob(digest, self.url, f"{end}", start)
                yield buffer[:count]
                start += count

    @contextmanager
    def _opened(self, digest: str) -> Iterator[int]:
        with self._reaching():
            try:
                descriptor = os.open(self._blob(digest), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._require_root()
                raise missing_blob(digest, self.url) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Keep a blob, replacing one that is there; raises CorruptBlob if the bytes are others."""
        target = self._blob(digest)
        with self._reaching():
            sweep(self.root / "staging")
            with staging_directory(self.root / "staging") as stage:
                _write_hashed(stage / digest, digest, chunks)
                make_directory(target.parent)
                os.replace(stage / digest, target)
                fsync_directory(target.parent)

    def delete_blob(self, digest: str) -> None:
        """Remove a blob."""
        self._unlink(self._blob(digest))

    def list_blobs(self) -> Iterator[Blob]:
        """All blobs."""
        with self._reaching():
            self._require_root()
            paths = [path for path in (self.root / "blobs" / "sha256").glob("??/*") if is_digest(path.name)]
        for path in paths:
            with suppress(FileNotFoundError), self._reaching():
                status = path.stat()
                yield Blob(path.name, status.st_size, status.st_mtime)

    def local_path(self, digest: str) -> Path | None:
        """The blob as a file of this machine."""
        return self._blob(digest)

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / digest[:2] / digest

    def _manifest(self, digest: str) -> Path:
        return self.root / "manifests" / f"{digest}.json"

    def _signature(self, digest: str) -> Path:
        return self.root / "signatures" / f"{digest}.json"

    def _ref(self, name: str, tag: str) -> Path:
        return self.root / "refs" / name / tag

    def _read(self, path: Path) -> bytes | None:
        with self._reaching():
            try:
                return path.read_bytes()
            except FileNotFoundError:
                self._require_root()
                return None

    def _unlink(self, path: Path) -> None:
        with self._reaching():
            path.unlink(missing_ok=True)

    def _require_root(self) -> None:
        """A directory that is not there is an absent volume, not an empty store."""
        if not self.root.is_dir():
            raise StoreUnreachable(
                f"There is no store at {self.url}.",
                "Publish a model to it (model-store publish 'demo-*'), import a bundle, mount the volume, "
                "or set RAYSCRIBE_STORE.",
                url=self.url,
            )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        # Only around the file system's calls: the errors of whoever gives or takes the bytes are not the store's.
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreFull(f"No space is left in the store at {self.url}.", "Free some, or use another.") from None
            if error.errno in READ_ONLY:
                raise read_only(self.url, error.strerror or "read-only") from None
            raise StoreUnreachable(
                f"The store at {self.url} fails: {error}.",
                "Check that the volume is mounted and that this user may read (to publish: write) it.",
                url=self.url,
            ) from error


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
        raise changed_blob(digest, hasher.hexdigest())
