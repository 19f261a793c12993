"""What a bundle consists of: a plain tar file of the members that its index names, in the index's order.

index.json                  version, and path, size and sha256 of all members that follow
manifests/<digest>.json     as in a store; so are those below. Unpacked by `tar xf`, a bundle is a store
signatures/<digest>.json
blobs/sha256/ab/<digest>
refs/<name>/<tag>           last, for they make all the rest visible
"""

import json
import re
import tarfile
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.errors import BundleError, UsageError
from model_store.manifest import Digest

VERSION = 1
INDEX = "index.json"
BLOCK = 512
END = bytes(2 * BLOCK)
MAX_SMALL = 16 * 1024 * 1024
"""Bytes that the index may have, and all manifests, signatures and refs together: they are held in memory."""
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_PATHS = {
    "manifest": re.compile(r"manifests/(?P<digest>[0-9a-f]{64})\.json"),
    "signature": re.compile(r"signatures/(?P<digest>[0-9a-f]{64})\.json"),
    "blob": re.compile(r"blobs/sha256/(?P<start>[0-9a-f]{2})/(?P<digest>(?P=start)[0-9a-f]{62})"),
    "ref": re.compile(rf"refs/(?P<name>{_PART}(/{_PART}){{0,3}})/(?P<tag>{_PART})"),
}
_ORDER = list(_PATHS)


class Member(BaseModel):
    """A file of a bundle: its path, its size in bytes, its sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: Annotated[int, Field(ge=0)]
    sha256: Digest

    @property
    def kind(self) -> str:
        """One of manifest, signature, blob, ref; empty for what a bundle must not hold."""
        return next((kind for kind, pattern in _PATHS.items() if pattern.fullmatch(self.path)), "")

    @property
    def order(self) -> tuple[int, str]:
        """Where it stands among the others."""
        return _ORDER.index(self.kind), self.path

    def part(self, name: str) -> str:
        """The `digest` in its path, or a ref's `name` or `tag`."""
        match = _PATHS[self.kind].fullmatch(self.path)
        assert match is not None
        return match[name]


class Index(BaseModel):
    """All members of a bundle in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Literal["rayscribe"] = "rayscribe"
    version: Literal[1] = 1
    members: tuple[Member, ...]

    def canonical(self) -> bytes:
        """The one byte string that stands for this index."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, raw: bytes, bundle: str) -> "Index":
        """Read an index; raises BundleError if it is none, too new, or names what must not be there."""
        try:
            index = cls.model_validate_json(raw)
        except ValidationError as error:
            raise _explain(error, raw, bundle) from None
        for member in index.members:
            if not member.kind:
                raise BundleError(f"{bundle} holds {member.path!r}, which no bundle holds.", AGAIN, bundle=bundle)
        order = [member.order for member in index.members]
        if order != sorted(set(order)):
            raise BundleError(f"{bundle} names its members in the wrong order.", AGAIN, bundle=bundle)
        if sum(member.size for member in index.members if member.kind != "blob") > MAX_SMALL:
            raise BundleError(f"{bundle} has more than {MAX_SMALL} bytes of manifests.", AGAIN, bundle=bundle)
        return index


AGAIN = "Get the bundle again, or export it again: model-store bundle export NAME --out FILE"


def header(path: str, size: int, *, read_only: bool = False) -> bytes:
    """The tar header of a member: no times, no owners; raises UsageError if tar has no room for the path."""
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o444 if read_only else 0o644
    # Only blobs, whose paths are short, can be too big for the plain format's eleven octal digits.
    try:
        return info.tobuf(tarfile.USTAR_FORMAT if size < 8**11 else tarfile.GNU_FORMAT)
    except ValueError:
        raise UsageError(f"{path} is too long for a bundle.", "Use a shorter tag: 100 characters at most.") from None


def padding(size: int) -> int:
    """Zero bytes that fill a member's last block."""
    return -size % BLOCK


def _explain(error: ValidationError, raw: bytes, bundle: str) -> BundleError:
    """Tell a bundle of a newer version from a wrong one."""
    try:
        document = json.loads(raw)
    except ValueError:
        document = None
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > VERSION:
        problem = f"{bundle} is a bundle of version {version}; this version reads {VERSION}."
        return BundleError(problem, "Upgrade rayscribe, or export with this version.", bundle=bundle)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return BundleError(f"{bundle}: {INDEX}: {where}: {first['msg']}.", AGAIN, bundle=bundle)
