"""The model store: publish a model once, fetch it anywhere as a complete and verified directory.

>>> from model_store import NodeCache, fetch, open_store
>>> snapshot = fetch("demo-whisper@latest", open_store("/models"), NodeCache("/cache"))  # doctest: +SKIP
>>> snapshot.path, snapshot.manifest.languages, snapshot.timings.fetch_s  # doctest: +SKIP
"""

from model_store.cache import NodeCache
from model_store.catalog import Catalog
from model_store.errors import (
    BadReference,
    CacheError,
    CacheFull,
    CacheUnwritable,
    CatalogError,
    CorruptBlob,
    FetchTimeout,
    ManifestError,
    MissingBlob,
    MissingManifest,
    ModelStoreError,
    NotPublished,
    SourceCorrupt,
    SourceError,
    SourceGated,
    SourceNotFound,
    SourceUnreachable,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
    UnsafePath,
    UsageError,
)
from model_store.fetch import FetchOptions, Snapshot, Timings, fetch
from model_store.manifest import FileEntry, Manifest, Origin
from model_store.publish import Extra, ModelInfo, Published, publish
from model_store.references import Reference
from model_store.sources import Source, parse_source
from model_store.stores import Blob, DirectoryStore, Ref, Store, open_store
from model_store.verify import Problem, verify

__all__ = [
    "BadReference",
    "Blob",
    "CacheError",
    "CacheFull",
    "CacheUnwritable",
    "Catalog",
    "CatalogError",
    "CorruptBlob",
    "DirectoryStore",
    "Extra",
    "FetchOptions",
    "FetchTimeout",
    "FileEntry",
    "Manifest",
    "ManifestError",
    "MissingBlob",
    "MissingManifest",
    "ModelInfo",
    "ModelStoreError",
    "NodeCache",
    "NotPublished",
    "Origin",
    "Problem",
    "Published",
    "Ref",
    "Reference",
    "Snapshot",
    "Source",
    "SourceCorrupt",
    "SourceError",
    "SourceGated",
    "SourceNotFound",
    "SourceUnreachable",
    "Store",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnreachable",
    "Timings",
    "UnsafePath",
    "UsageError",
    "fetch",
    "open_store",
    "parse_source",
    "publish",
    "verify",
]
