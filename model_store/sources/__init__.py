"""Sources: where models are published from.

`directory:PATH`, `hub:REPO@REVISION`, `package:DIST/PATH`, `s3://BUCKET/PREFIX`, `https://HOST/PATH`,
`torchaudio:BUNDLE`, `nltk:PACKAGE`, `bundle:FILE#NAME@TAG`.
"""

from pathlib import Path

from model_store.errors import UsageError
from model_store.sources.base import Collected, Source
from model_store.sources.bundle import BundleSource
from model_store.sources.directory import DirectorySource
from model_store.sources.hub import HubSource
from model_store.sources.nltk_data import NltkSource
from model_store.sources.objects import BucketSource, WebSource
from model_store.sources.package import PackageSource
from model_store.sources.pinned import PinnedSource
from model_store.sources.torchaudio import TorchaudioSource

__all__ = [
    "BucketSource",
    "BundleSource",
    "Collected",
    "DirectorySource",
    "HubSource",
    "NltkSource",
    "PackageSource",
    "PinnedSource",
    "Source",
    "TorchaudioSource",
    "WebSource",
    "parse_source",
]


def parse_source(spec: str, base: Path | None = None, allow: tuple[str, ...] = ()) -> Source:
    """The source that `spec` names; relative directories lie below `base`, `allow` limits files by glob patterns."""
    kind, _, rest = spec.partition(":")
    if rest and kind == "directory":
        return DirectorySource(rest, base or Path.cwd(), allow)
    if rest and kind == "hub":
        repo, _, revision = rest.partition("@")
        return HubSource(repo, revision or "main", allow)
    if rest and kind == "package":
        distribution, _, path = rest.partition("/")
        return PackageSource(distribution, path, allow)
    if rest and kind == "torchaudio":
        return TorchaudioSource(rest)
    if rest and kind == "nltk":
        return NltkSource(rest, allow)
    if kind == "bundle" and "#" in rest:
        file, _, name = rest.rpartition("#")
        return BundleSource(file, name, base or Path.cwd(), allow)
    if spec.startswith("s3://"):
        return BucketSource(spec, allow)
    if spec.startswith(("http://", "https://")):
        return WebSource(spec, allow)
    raise UsageError(
        f"{spec!r} is not a source.",
        "Write directory:PATH, hub:REPO@REVISION, package:DIST/PATH, s3://BUCKET/PREFIX, https://HOST/PATH, "
        "torchaudio:BUNDLE, nltk:PACKAGE or bundle:FILE#NAME@TAG.",
    )
