"""References: `name`, `name@tag` and `name@sha256:<digest>`."""

import re
from dataclasses import dataclass

from model_store.errors import BadReference

DEFAULT_TAG = "latest"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(rf"{_PART}(/{_PART}){{0,3}}")
_TAG = re.compile(_PART)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MEND = "Write name, name@tag or name@sha256:<64 hex digits>, for example demo-whisper@latest."


def is_digest(text: str) -> bool:
    """Whether `text` is a sha256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return `name` if it can be published under; raise BadReference otherwise."""
    if not _NAME.fullmatch(name):
        raise BadReference(f"{name!r} is not a model name.", _MEND)
    return name


def check_tag(tag: str) -> str:
    """Return `tag` if it can name a revision; raise BadReference otherwise."""
    if not _TAG.fullmatch(tag):
        raise BadReference(f"{tag!r} is not a tag.", _MEND)
    return tag


@dataclass(frozen=True)
class Reference:
    """A model name with either a tag or a manifest digest."""

    name: str
    tag: str = DEFAULT_TAG
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `name[@tag|@sha256:<digest>]`; raise BadReference for anything else."""
        name, at, revision = text.partition("@")
        check_name(name)
        if not at:
            return cls(name)
        algorithm, colon, digest = revision.partition(":")
        if not colon:
            return cls(name, check_tag(revision))
        if algorithm != "sha256" or not is_digest(digest):
            raise BadReference(f"{revision!r} is not a digest.", _MEND)
        return cls(name, digest=digest)

    def __str__(self) -> str:
        return f"{self.name}@sha256:{self.digest}" if self.digest else f"{self.name}@{self.tag}"
