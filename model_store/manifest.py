"""Manifests: the files of one snapshot, where they came from and what they need."""

import hashlib
import json
import unicodedata
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from model_store.errors import ManifestError, UnsafePath
from model_store.references import check_name, check_tag

SCHEMA = 3
PIECE = 16 * 1024 * 1024
"""Bytes of a piece unless an entry says otherwise; the last one of a file is shorter."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def check_path(path: str) -> str:
    """Return `path` if it is relative, plain and stays inside; raise UnsafePath otherwise."""
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    if not plain or "\\" in path or ":" in parts[0] or len(path.encode()) > 1024:
        raise UnsafePath(f"{path!r} is not a safe path for a file of a snapshot.", "Publish the model again.")
    return path


def _no_clashes(paths: list[str]) -> None:
    """Refuse paths that are one file on a file system that ignores case, or a file and a directory at once."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in seen:
            raise UnsafePath(
                f"{path!r} and {seen[folded]!r} are one file where case is ignored.", "Rename one of them."
            )
        seen[folded] = path
    for folded, path in seen.items():
        parts = folded.split("/")
        if any("/".join(parts[:end]) in seen for end in range(1, len(parts))):
            raise UnsafePath(f"{path!r} lies below a file.", "Rename one of them.")


class _Frozen(BaseModel):
    """Values that do not change and take no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(NamedTuple):
    """A part of a file that can be checked by itself: where it starts, its length in bytes, its blake3."""

    start: int
    length: int
    blake3: str


class FileEntry(_Frozen):
    """One file: its path inside the snapshot, its size in bytes and its hashes.

    The sha256 names the blob. `pieces` are the blake3 of each `piece_size` bytes, so that parts can come in any order
    and be checked at once, several times as fast as by sha256; a file of one piece has none, as its blake3 is that.
    """

    path: Annotated[str, AfterValidator(check_path)]
    size: Annotated[int, Field(ge=0)]
    sha256: Digest
    blake3: Digest
    pieces: tuple[Digest, ...] = ()
    piece_size: Annotated[int, Field(gt=0, le=PIECE)] = PIECE

    @model_validator(mode="after")
    def _pieces_cover_it(self) -> "FileEntry":
        wanted = -(-self.size // self.piece_size)
        if len(self.pieces) != (wanted if wanted > 1 else 0):
            raise ValueError(f"{self.size} bytes have {wanted} pieces, not {len(self.pieces)}")
        return self

    def checked_pieces(self) -> list[Piece]:
        """The parts that together are the file; none if it is empty."""
        digests = self.pieces or ((self.blake3,) if self.size else ())
        starts = range(0, self.size, self.piece_size)
        return [
            Piece(start, min(self.piece_size, self.size - start), digest)
            for start, digest in zip(starts, digests, strict=True)
        ]


class Origin(_Frozen):
    """Where the files came from, and at which commit or version if that is known."""

    url: str
    commit: str = ""


class Manifest(_Frozen):
    """One snapshot. Its identity is the sha256 of `canonical()`.

    `memory_mb` is what the weights take once loaded; `pickle` says that a file among them is unpickled when loaded.
    """

    schema_version: Literal[3] = 3
    name: Annotated[str, AfterValidator(check_name)]
    revision: Annotated[str, AfterValidator(check_tag)]
    kind: str
    source: Origin
    extra: tuple[Origin, ...] = ()
    licence: str = ""
    languages: tuple[str, ...] = ()
    compute_type: str = ""
    memory_mb: Annotated[int, Field(ge=0)] = 0
    gated: bool = False
    pickle: bool = False
    created: str
    tools: dict[str, str] = {}
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _paths_do_not_clash(self) -> "Manifest":
        _no_clashes([entry.path for entry in self.files])
        return self

    def canonical(self) -> bytes:
        """The one byte string that stands for this manifest: sorted keys, no spaces, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    @cached_property
    def digest(self) -> str:
        """The sha256 of `canonical()`, in hex."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @cached_property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    def same_but_created(self, other: "Manifest") -> bool:
        """Whether both say the same, apart from when they were made."""
        return self.model_copy(update={"created": ""}).canonical() == (
            other.model_copy(update={"created": ""}).canonical()
        )


def read_manifest(raw: bytes, digest: str) -> Manifest:
    """Parse a stored manifest; raise ManifestError unless it is intact, known and safe."""
    got = hashlib.sha256(raw).hexdigest()
    if got != digest:
        raise ManifestError(
            f"Manifest sha256:{digest} is damaged: its bytes give {got}.",
            "Publish the model again.",
            expected=digest,
            got=got,
        )
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise _explain(error, raw, digest) from None


def _explain(error: ValidationError, raw: bytes, digest: str) -> ManifestError:
    """Tell a manifest of a newer version from a wrong one."""
    version = _schema_version(raw)
    if version not in (None, SCHEMA):
        return ManifestError(
            f"Manifest sha256:{digest} has schema version {version}; this version reads {SCHEMA}.",
            "Upgrade rayscribe." if version > SCHEMA else "Publish the model again.",
        )
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return ManifestError(f"Manifest sha256:{digest}: {where}: {first['msg']}.", "Publish the model again.")


def _schema_version(raw: bytes) -> int | None:
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    version = document.get("schema_version") if isinstance(document, dict) else None
    return version if isinstance(version, int) else None
