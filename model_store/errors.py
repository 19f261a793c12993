"""Every way the model store can fail, as one tree.

ModelStoreError
├── UsageError            a name, a reference or an option that cannot be meant
│   ├── BadReference
│   └── CatalogError
├── NotPublished          the store lacks this name, tag or digest
│   └── MissingManifest   a ref is there, its manifest is not
├── StoreUnreachable      the store cannot be read or written at all
│   └── NotListable       it gives what is asked for by name, and cannot say what it holds
├── StoreFull
├── StoreReadOnly         the store can only be read
├── ManifestError         not a manifest that this version can read
│   └── UnsafePath        a path that would leave the snapshot
├── NotTrusted            no trusted key vouches for it, or it holds a pickle that nobody allowed
├── BundleError           a bundle that is damaged, cut off, of a newer version, or none at all
├── CorruptBlob           the bytes are not those that the manifest promises
│   └── MissingBlob
├── CacheError            the node cache
│   ├── CacheFull
│   └── CacheUnwritable
├── FetchTimeout
└── SourceError           where a model is published from
    ├── SourceNotFound
    ├── SourceGated
    ├── SourceUnreachable
    ├── SourceCorrupt
    └── ConversionFailed  its files cannot be converted
"""

from typing import Any, ClassVar


class ModelStoreError(Exception):
    """What went wrong (`problem`), how to mend it (`mend`) and the values to act on (`details`)."""

    exit_code: ClassVar[int] = 4

    def __init__(self, problem: str, mend: str = "", **details: Any) -> None:
        # Only plain positional arguments reach Exception, so that pickle can build it again.
        super().__init__(problem, mend)
        self.problem = problem
        self.mend = mend
        self.details = details

    def __str__(self) -> str:
        return f"{self.problem} {self.mend}".strip()


class UsageError(ModelStoreError):
    """Something was asked for that cannot be meant."""

    exit_code = 2


class BadReference(UsageError):
    """Not a `name`, `name@tag` or `name@sha256:<digest>`."""


class CatalogError(UsageError):
    """`models.yaml` does not say what it must, or says what nothing reads."""


class NotPublished(ModelStoreError):
    """The store has no such name, tag or digest."""

    exit_code = 3


class MissingManifest(NotPublished):
    """A ref names a manifest that the store does not hold."""


class StoreUnreachable(ModelStoreError):
    """The store cannot be read or written."""


class NotListable(StoreUnreachable):
    """The store gives what is asked for by name, and cannot say what it holds: a web server."""


class StoreFull(ModelStoreError):
    """No space is left in the store."""


class StoreReadOnly(ModelStoreError):
    """The store can be read, not written."""


class ManifestError(ModelStoreError):
    """Not a manifest that this version can read."""


class UnsafePath(ManifestError):
    """A path that would leave the snapshot, or that not every file system can hold."""


class NotTrusted(ModelStoreError):
    """No trusted key vouches for a manifest, or it holds a pickle that nobody allowed.

    Details: model; signed_by, trusted (key ids); pickles (paths).
    """


class BundleError(ModelStoreError):
    """A bundle that is damaged, cut off, of a newer version, or none at all; details: bundle."""


class CorruptBlob(ModelStoreError):
    """Bytes differ from what the manifest promises; details: path, expected, got."""


class MissingBlob(CorruptBlob):
    """A blob that a manifest names is not in the store."""


class CacheError(ModelStoreError):
    """The node cache cannot take a snapshot."""


class CacheFull(CacheError):
    """No space is left for the node cache; details: needed, free (bytes)."""


class CacheUnwritable(CacheError):
    """The node cache cannot be written by this user."""


class FetchTimeout(ModelStoreError):
    """A fetch ran past its own time limit."""


class SourceError(ModelStoreError):
    """A model cannot be published from this source."""


class SourceNotFound(SourceError):
    """The source, or this revision of it, does not exist."""


class SourceGated(SourceError):
    """The source wants its conditions accepted first."""


class SourceUnreachable(SourceError):
    """The source cannot be reached from here."""


class SourceCorrupt(SourceError):
    """The source changed while it was read, or its bytes are not what it promises."""


class ConversionFailed(SourceError):
    """The source's files cannot be converted as asked for; details: recipe."""
