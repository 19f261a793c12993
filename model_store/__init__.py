"""The model store: publish a model once, fetch it anywhere as a complete and verified directory.

>>> from model_store import NodeCache, fetch, open_store
>>> snapshot = fetch("demo-whisper@latest", open_store("/models"), NodeCache("/cache"))  # doctest: +SKIP
>>> snapshot.path, snapshot.manifest.languages, snapshot.timings.fetch_s  # doctest: +SKIP
"""

from model_store.bundle import export_bundle, import_bundle
from model_store.cache.hub_layout import write_hub_view
from model_store.cache.leases import Lease
from model_store.cache.node_cache import NodeCache
from model_store.cache.usage import measure
from model_store.errors import (
    BadReference,
    BundleError,
    CacheError,
    CacheFull,
    CacheUnwritable,
    CatalogError,
    ConversionFailed,
    CorruptBlob,
    FetchTimeout,
    ManifestError,
    MissingBlob,
    MissingManifest,
    ModelStoreError,
    NotListable,
    NotPublished,
    NotTrusted,
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
from model_store.fetching.fetch import FetchOptions, Snapshot, Timings, fetch
from model_store.fetching.holding import fetch_and_hold
from model_store.manifest import FileEntry, Manifest, Origin
from model_store.publishing.catalog import Catalog
from model_store.publishing.publish import Extra, ModelInfo, Published, publish
from model_store.publishing.pulling import pull
from model_store.references import Reference
from model_store.sizes import parse_size
from model_store.sources import Source, parse_source
from model_store.stores import Blob, DirectoryStore, ObjectStore, Ref, Store, StoreChain, WebStore, open_store
from model_store.trust.policy import TrustPolicy, require_trust
from model_store.trust.signing import PublicKey, check_signature, make_keys, sign
from model_store.upkeep.copying import copy_models
from model_store.upkeep.doctor import examine
from model_store.upkeep.garbage import collect_garbage, tidy
from model_store.upkeep.outdated import compare_with_hub
from model_store.upkeep.removal import remove_cached, remove_refs
from model_store.upkeep.repair import repair_cache, repair_store
from model_store.upkeep.verify import Problem, verify

__all__ = [
    "BadReference",
    "Blob",
    "BundleError",
    "CacheError",
    "CacheFull",
    "CacheUnwritable",
    "Catalog",
    "CatalogError",
    "ConversionFailed",
    "CorruptBlob",
    "DirectoryStore",
    "Extra",
    "FetchOptions",
    "FetchTimeout",
    "FileEntry",
    "Lease",
    "Manifest",
    "ManifestError",
    "MissingBlob",
    "MissingManifest",
    "ModelInfo",
    "ModelStoreError",
    "NodeCache",
    "NotListable",
    "NotPublished",
    "NotTrusted",
    "ObjectStore",
    "Origin",
    "Problem",
    "PublicKey",
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
    "StoreChain",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnreachable",
    "Timings",
    "TrustPolicy",
    "UnsafePath",
    "UsageError",
    "WebStore",
    "check_signature",
    "collect_garbage",
    "compare_with_hub",
    "copy_models",
    "examine",
    "export_bundle",
    "fetch",
    "fetch_and_hold",
    "import_bundle",
    "make_keys",
    "measure",
    "open_store",
    "parse_size",
    "parse_source",
    "publish",
    "pull",
    "remove_cached",
    "remove_refs",
    "repair_cache",
    "repair_store",
    "require_trust",
    "sign",
    "tidy",
    "verify",
    "write_hub_view",
]
