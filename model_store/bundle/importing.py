"""Importing: from a file or a pipe into a store, refusing whatever a bundle must not hold."""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from model_store.bundle.layout import AGAIN, BLOCK, END, INDEX, MAX_SMALL, Index, Member, padding
from model_store.errors import BundleError, CorruptBlob, MissingBlob
from model_store.files import CHUNK
from model_store.manifest import Manifest, read_manifest
from model_store.progress import Progress, ignore_progress
from model_store.references import is_digest
from model_store.stores.base import Ref, Store, stream_blob
from model_store.trust.policy import TrustPolicy, require_trusted
from model_store.trust.signing import merge_signatures


@dataclass(frozen=True)
class Imported:
    """What came into the store: refs, digests of manifests, and bytes of blobs that were not there whole."""

    refs: tuple[Ref, ...]
    manifests: tuple[str, ...]
    written_bytes: int


def import_bundle(
    file: BinaryIO,
    store: Store,
    *,
    name: str = "The bundle",
    policy: TrustPolicy | None = None,
    progress: Progress = ignore_progress,
) -> Imported:
    """Read a bundle, in one go and a few MB of memory, into a store; what is damaged there is mended.

    Raises BundleError, naming it by `name`, or NotTrusted; then nothing of it can be seen in the store, but blobs that
    came whole stay for the next time.
    """
    return _Import(_Reader(file, name), store, progress).run(policy or TrustPolicy())


class _Reader:
    """The members of a bundle, one after another."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file, self.name = file, name

    def index(self) -> Index:
        """The first member, checked; raises BundleError."""
        info = self._header(INDEX)
        if info.name != INDEX or not 0 <= info.size <= MAX_SMALL:
            raise self.wrong(f"begins with {info.name!r} instead of {INDEX}")
        raw = self._read(info.size)
        self._read(padding(info.size))
        return Index.parse(raw, self.name)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """The bytes of the next member, which must be this one; raises BundleError at the end if they are others."""
        info = self._header(member.path)
        if (info.name, info.size) != (member.path, member.size):
            promised = f"{member.path} of {member.size} bytes"
            raise self.wrong(f"holds {info.name!r} of {info.size} bytes where its index promises {promised}")
        hasher, left = hashlib.sha256(), member.size
        while left:
            chunk = self._read(min(CHUNK, left))
            hasher.update(chunk)
            left -= len(chunk)
            yield chunk
        self._read(padding(member.size))
        if hasher.hexdigest() != member.sha256:
            raise self.wrong(f"is damaged: {member.path} has sha256 {hasher.hexdigest()} instead of {member.sha256}")

    def finish(self) -> None:
        """Only an end that is there tells a whole bundle from one that was cut off."""
        if self._read(len(END)) != END:
            raise self.wrong("holds more than its index names")

    def wrong(self, what: str) -> BundleError:
        """An error that names the bundle and says how to get a good one."""
        return BundleError(f"{self.name} {what}.", AGAIN, bundle=self.name)

    def _header(self, wanted: str) -> tarfile.TarInfo:
        block = self._read(BLOCK)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError):
            what = "is not a bundle" if wanted == INDEX else f"is damaged before {wanted}"
            raise self.wrong(what) from None
        if info.type != tarfile.REGTYPE:
            raise self.wrong(f"holds {info.name!r}, which is not a plain file")
        return info

    def _read(self, count: int) -> bytes:
        """Exactly so many bytes; a pipe may give fewer at a time."""
        parts, left = [], count
        while left:
            try:
                part = self.file.read(left)
            except OSError as error:
                raise self.wrong(f"cannot be read: {error.strerror or error}") from None
            if not part:
                raise self.wrong(f"is cut off: {left} bytes are missing")
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Import:
    """One bundle on its way into a store: blobs at once, what makes them visible at the end."""

    def __init__(self, reader: _Reader, store: Store, progress: Progress) -> None:
        self.reader, self.store, self.progress = reader, store, progress
        self.manifests: dict[str, Manifest] = {}
        self.signatures: dict[str, bytes] = {}
        self.refs: list[Ref] = []
        self.written = self.done = self.total = 0

    def run(self, policy: TrustPolicy) -> Imported:
        index = self.reader.index()
        self.total = sum(member.size for member in index.members)
        of_kind = {kind: [m for m in index.members if m.kind == kind] for kind in ("manifest", "signature", "blob")}
        for member in of_kind["manifest"]:
            self._manifest(member)
        self._require_the_blobs(of_kind["blob"])
        for member in of_kind["signature"]:
            self._signature(member)
        for manifest in self.manifests.values():
            require_trusted(manifest, self.signatures.get(manifest.digest), policy)
        for member in of_kind["blob"]:
            self._blob(member)
        for member in index.members:
            if member.kind == "ref":
                self._ref(member)
        self.reader.finish()
        return self._reveal()

    def _manifest(self, member: Member) -> None:
        digest = member.part("digest")
        manifest = read_manifest(self._small(member), digest)
        if manifest.digest != digest:
            raise self.reader.wrong(f"has a manifest that this version would write otherwise: {member.path}")
        self.manifests[digest] = manifest

    def _require_the_blobs(self, blobs: list[Member]) -> None:
        """All blobs of the manifests and no others, each of the size and hash that its name promises."""
        named = {entry.sha256: entry.size for manifest in self.manifests.values() for entry in manifest.files}
        promised = {member.part("digest"): member.size for member in blobs}
        if promised != named or any(member.part("digest") != member.sha256 for member in blobs):
            raise self.reader.wrong("does not hold the very blobs that its manifests name")

    def _signature(self, member: Member) -> None:
        if member.part("digest") not in self.manifests:
            raise self.reader.wrong(f"holds a signature of nothing: {member.path}")
        self.signatures[member.part("digest")] = self._small(member)

    def _blob(self, member: Member) -> None:
        chunks = self._counted(member)
        if self._is_there(member):
            for _ in chunks:
                pass
            return
        self.store.put_blob(member.sha256, member.size, chunks)
        for _ in chunks:  # a store may stop at the last byte, before the check
            pass
        self.written += member.size

    def _is_there(self, member: Member) -> bool:
        """Read, not believed: importing again is how a store that no source reaches is mended."""
        if self.store.checked_blob(member.sha256, member.size):
            return True
        if not self.store.has_blob(member.sha256, member.size):
            return False
        hasher = hashlib.sha256()
        try:
            for chunk in stream_blob(self.store, member.sha256, member.size):
                hasher.update(chunk)
        except (MissingBlob, CorruptBlob):
            return False
        return hasher.hexdigest() == member.sha256

    def _ref(self, member: Member) -> None:
        digest = self._small(member).decode("utf-8", "replace").strip()
        if not is_digest(digest) or digest not in self.manifests:
            raise self.reader.wrong(f"has a ref to nothing: {member.path}")
        self.refs.append(Ref(member.part("name"), member.part("tag"), digest))

    def _reveal(self) -> Imported:
        """Signatures before manifests, so that none is ever seen without; refs last."""
        for digest, signature in self.signatures.items():
            # What is there goes last and so wins: a bundle must not spoil a signature that was good.
            merged = merge_signatures(self.manifests[digest], signature, self.store.read_signature(digest))
            self.store.write_signature(digest, merged)
        for manifest in self.manifests.values():
            self.store.write_manifest(manifest)
        for ref in self.refs:
            self.store.write_ref(ref.name, ref.tag, ref.digest)
        self._require_unpruned()
        return Imported(tuple(self.refs), tuple(sorted(self.manifests)), self.written)

    def _require_unpruned(self) -> None:
        """Before the refs nothing kept the blobs from being pruned."""
        for manifest in self.manifests.values():
            for entry in manifest.files:
                if not self.store.has_blob(entry.sha256, entry.size):
                    raise self.reader.wrong(f"was imported while somebody pruned {self.store.url}: import it again")

    def _small(self, member: Member) -> bytes:
        return b"".join(self._counted(member))

    def _counted(self, member: Member) -> Iterator[bytes]:
        for chunk in self.reader.chunks(member):
            yield chunk
            self.done += len(chunk)
            self.progress(self.done, self.total)
