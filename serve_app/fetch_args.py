"""Which addresses a request may name by `url`, for the service to read the file from: none unless they are allowed."""

import re
from dataclasses import dataclass
from typing import Self

from pydantic import Field, field_validator, model_validator

from serve_app.strict import Strict

DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"(?:(https?)://)?(\*|(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_BUCKET = re.compile(r"s3://([a-z0-9][a-z0-9.-]+)(?:/(.*))?")


@dataclass(frozen=True, slots=True)
class Host:
    """Hosts by their name, all below a name (`*.example.com`) or all (`*`), by one scheme at one port."""

    scheme: str
    name: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `[https://|http://]host[:port]`; without a scheme https, without a port the scheme's own."""
        if not (found := _HOST.fullmatch(text.lower())):
            return None
        scheme = found[1] or "https"
        return cls(scheme, found[2].strip("[]"), int(found[3] or DEFAULT_PORTS[scheme]))

    def fits(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether this is one of them."""
        return scheme == self.scheme and (port or DEFAULT_PORTS[scheme]) == self.port and self.names(host)

    def names(self, host: str) -> bool:
        """Return whether a host bears such a name."""
        below = self.name.startswith("*.") and host.endswith(self.name[1:])
        return self.name in ("*", host) or below


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects of a bucket that may be read: all, or those below a prefix."""

    name: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `s3://bucket[/prefix]`."""
        found = _BUCKET.fullmatch(text)
        return cls(found[1], (found[2] or "").strip("/")) if found else None

    def holds(self, bucket: str, key: str) -> bool:
        """Return whether an object is one of them."""
        return bucket == self.name and (not self.prefix or key.startswith(f"{self.prefix}/"))


class FetchArgs(Strict):
    """What may be read for a request that names a `url`; nothing by default."""

    allow: list[str] = Field(
        default_factory=list,
        description="media.example.com, *.example.com (all below it), * (any host), each by https at port 443; "
        "host:8443; http://host for plain http; s3://bucket or s3://bucket/prefix",
    )
    allow_private: list[str] = Field(
        default_factory=list, description="hosts of these that may lie at private or loopback addresses"
    )
    timeout_s: float = Field(default=300, gt=0, description="how long reading one file may take in all")

    @field_validator("allow")
    @classmethod
    def _allow_places(cls, allow: list[str]) -> list[str]:
        for text in allow:
            if not (Host.parse(text) or Bucket.parse(text)):
                raise ValueError(f"'{text}' is neither a host, such as *.example.com, nor a bucket, such as s3://calls")
        return allow

    @model_validator(mode="after")
    def _private_hosts_have_names(self) -> Self:
        for text in self.allow_private:
            host = Host.parse(text)
            if not host or "://" in text or host.name == "*":
                raise ValueError(f"allow_private '{text}' is no name of a host, such as minio.internal")
        return self

    def may_be_private(self, host: str) -> bool:
        """Return whether a host may lie at a private address."""
        return any(each.names(host) for text in self.allow_private if (each := Host.parse(text)))

    def allows_host(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether files may be read from a host, whose name is in small letters, ASCII alone."""
        return any(each.fits(scheme, host, port) for text in self.allow if (each := Host.parse(text)))

    def allows_object(self, bucket: str, key: str) -> bool:
        """Return whether an object may be read."""
        return any(each.holds(bucket, key) for text in self.allow if (each := Bucket.parse(text)))
