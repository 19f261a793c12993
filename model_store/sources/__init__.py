"""Sources: where models are published from. `directory:PATH`, `hub:REPO@REVISION`, `package:DIST/PATH`."""

from pathlib import Path

from model_store.errors import UsageError
from model_store.sources.base import Collected, Source
from model_store.sources.directory import DirectorySource
from model_store.sources.hub import HubSource
from model_store.sources.package import PackageSource

__all__ = ["Collected", "DirectorySource", "HubSource", "PackageSource", "Source", "parse_source"]


def parse_source(spec: str, base: Path | None = None, allow: tuple[str, ...] = ()) -> Source:
    """The source that `spec` names; relative directories lie below `base`, `allow` limits files by glob patterns."""
    kind, colon, rest = spec.partition(":")
    if colon and rest and kind == "directory":
        return DirectorySource(rest, base or Path.cwd(), allow)
    if colon and rest and kind == "hub":
        repo, _, revision = rest.partition("@")
        return HubSource(repo, revision or "main", allow)
    if colon and rest and kind == "package":
        distribution, _, path = rest.partition("/")
        return PackageSource(distribution, path, allow)
    raise UsageError(f"{spec!r} is not a source.", "Write directory:PATH, hub:REPO@REVISION or package:DIST/PATH.")
