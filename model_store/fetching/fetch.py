"""Fetching: a reference in, a complete and verified directory out."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from model_store.cache.node_cache import NodeCache
from model_store.cache.partial import bytes_here
from model_store.errors import FetchTimeout, MissingManifest, NotListable, NotPublished, StoreUnreachable
from model_store.fetching.install import Installation
from model_store.fetching.patience import Patience
from model_store.fetching.transfer import MOST_CONNECTIONS
from model_store.manifest import Manifest
from model_store.progress import Progress, ignore_progress
from model_store.references import Reference
from model_store.stores import Store
from model_store.trust.policy import TrustPolicy, require_trust

log = logging.getLogger(__name__)
NO_KEYS = TrustPolicy()


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    link: hard link the store's blobs instead of copying them, for a store that nobody writes into.
    deep: hash a snapshot that is there already, and mend it.
    connections: so many at most; few to begin with, more while that is faster.
    lock_timeout_s: wait so long for another process's fetch, then download privately.
    timeout_s: give up after so long with FetchTimeout; until then a store that fails is asked again.
    stall_s: without `timeout_s`, give up after so long in which nothing came.
    trust: who must have signed, and whether pickles may come in; asked before any file is brought.
    progress: called with bytes done and bytes in all, also while another process's fetch is waited for.
    """

    link: bool = False
    deep: bool = False
    connections: int = MOST_CONNECTIONS
    lock_timeout_s: float = 900.0
    timeout_s: float | None = None
    stall_s: float = 60.0
    trust: TrustPolicy = NO_KEYS
    progress: Progress = ignore_progress


@dataclass(frozen=True)
class Timings:
    """Seconds: finding the digest; getting the files (0 if they were there); checking sizes or hashes.

    Hashing goes on in several threads while files come: `verify_s` is the sum over them.
    """

    resolve_s: float
    fetch_s: float
    verify_s: float

    def as_dict(self) -> dict[str, float]:
        """The seconds by name."""
        return asdict(self)


@dataclass(frozen=True)
class Snapshot:
    """A complete, verified directory: one model at one revision."""

    path: Path
    manifest: Manifest
    digest: str
    timings: Timings
    source: Literal["cache", "store"]
    fetched_bytes: int = 0


def fetch(name: str, store: Store, cache: NodeCache, options: FetchOptions | None = None) -> Snapshot:
    """Make `name[@tag|@sha256:…]` be in the cache and return it; raises a ModelStoreError that says how to mend."""
    options = options or FetchOptions()
    started = time.perf_counter()
    reference = Reference.parse(name)
    patience = Patience(f"Fetching {reference}", options.timeout_s, options.stall_s)
    digest, told = resolve(reference, store, cache, patience)
    resolved = time.perf_counter()
    manifest = cache.lookup(digest, deep=options.deep)
    verify_s = time.perf_counter() - resolved
    if manifest is not None:
        timings = Timings(resolved - started, 0.0, verify_s)
        snapshot = Snapshot(cache.snapshot_path(digest), manifest, digest, timings, "cache")
    else:
        # A store that has not answered yet is not asked again: its name may be wrong.
        manifest = patience.ask(lambda: _read_manifest(reference, digest, store), again=told)
        trusted = manifest
        patience.ask(lambda: require_trust(store, trusted, options.trust, reference), again=told)
        with cache.hold(digest, manifest):
            snapshot = _fetch_cold(manifest, store, cache, options, patience, resolved - started)
    if told:
        # Only now: an answer without its snapshot would be of no use when the store is away.
        cache.remember_ref(reference.name, reference.tag, digest)
    return snapshot


def _fetch_cold(
    manifest: Manifest, store: Store, cache: NodeCache, options: FetchOptions, patience: Patience, resolve_s: float
) -> Snapshot:
    started, digest = time.perf_counter(), manifest.digest
    shown = _Rising(options.progress)
    installation = Installation(manifest, store, cache, patience, link=options.link, deep=options.deep)
    installation.connections, installation.progress = max(1, options.connections), shown
    with _alone(manifest, cache, options, patience, shown) as installation.alone:
        cache.on_step("locked")
        patience.progress()
        # The one waited for may have done it all; what it left is checked, not believed.
        fetched = cache.lookup(digest, deep=options.deep) is None
        if fetched:
            installation.run()
    timings = Timings(resolve_s, time.perf_counter() - started, installation.verify_s)
    source: Literal["cache", "store"] = "store" if fetched else "cache"
    return Snapshot(cache.snapshot_path(digest), manifest, digest, timings, source, installation.fetched_bytes)


@contextmanager
def _alone(
    manifest: Manifest,
    cache: NodeCache,
    options: FetchOptions,
    patience: Patience,
    progress: Progress,
) -> Iterator[bool]:
    """Wait for another's fetch of the same and show how far it is; says whether nobody else is at it now."""

    def show() -> bool:
        done = sum(bytes_here(entry, cache.blob_path(entry.sha256), cache.root / "staging") for entry in manifest.files)
        progress(done, manifest.size)
        return done == manifest.size and cache.lookup(manifest.digest) is not None

    wait_s = options.lock_timeout_s
    if options.timeout_s is not None:
        wait_s = max(0.0, min(wait_s, patience.left_s()))
    with cache.single_flight(manifest.digest, wait_s, waiting=show) as alone:
        yield alone


class _Rising:
    """Progress that never falls, though a waiter that takes over begins by checking what it finds."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._most = progress, 0

    def __call__(self, done: int, total: int) -> None:
        self._most = max(self._most, done)
        self._progress(self._most, total)


def _read_manifest(reference: Reference, digest: str, store: Store) -> Manifest:
    try:
        return store.read_manifest(digest)
    except MissingManifest as error:
        raise MissingManifest(
            f"{reference}: {error.problem}",
            f"Publish it again: model-store publish {reference.name} --store {store.url}",
            **error.details,
        ) from None


def resolve(reference: Reference, store: Store, cache: NodeCache, patience: Patience | None = None) -> tuple[str, bool]:
    """The digest that a reference stands for, and whether the store told it.

    A digest asks nobody; the cache's last answer bridges an absent or silent store.
    """
    patience = patience or Patience(f"Resolving {reference}", None, FetchOptions.stall_s)
    if reference.digest is not None:
        return reference.digest, False
    try:
        digest = patience.ask(lambda: store.read_ref(reference.name, reference.tag), again=False)
    except (StoreUnreachable, FetchTimeout) as error:
        return _last_known(reference, cache, error), False
    if digest is None:
        raise not_published(reference, store)
    return digest, True


def _last_known(reference: Reference, cache: NodeCache, error: StoreUnreachable | FetchTimeout) -> str:
    """What the store last said, if that snapshot is here."""
    digest = cache.read_ref(reference.name, reference.tag)
    if digest is None or cache.lookup(digest) is None:
        raise error
    log.warning("%s The cached snapshot of %s is used: sha256:%s.", error.problem, reference, digest)
    return digest


def not_published(reference: Reference, store: Store) -> NotPublished:
    """An error that names what there is, the nearest name, and the command to publish."""
    try:
        refs = store.list_refs()
    except NotListable:
        return NotPublished(f"{reference} is not in the store at {store.url}.", "See that it is published there.")
    tags = sorted({ref.tag for ref in refs if ref.name == reference.name})
    publish = f"model-store publish {reference.name} --store {store.url}"
    if tags:
        nearest = _did_you_mean(reference.tag, tags)
        return NotPublished(
            f"{reference} is not in the store at {store.url}; {reference.name} has: {', '.join(tags)}.{nearest}",
            f"To publish it: {publish}",
            published=tags,
        )
    names = sorted({ref.name for ref in refs})
    return NotPublished(
        f"{reference} is not in the store at {store.url}, which holds: {', '.join(names) or 'nothing'}."
        f"{_did_you_mean(reference.name, names)}",
        f"To publish it: {publish}",
        published=names,
    )


def _did_you_mean(word: str, words: list[str]) -> str:
    nearest = get_close_matches(word, words, n=1)
    return f" Did you mean {nearest[0]}?" if nearest else ""
