"""Fetching: a reference in, a complete and verified directory out."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from model_store.cache import NodeCache
from model_store.errors import MissingManifest, NotPublished, StoreUnreachable
from model_store.install import Installation
from model_store.manifest import Manifest
from model_store.references import Reference
from model_store.stores import Store

log = logging.getLogger(__name__)


def _ignore_progress(done: int, total: int) -> None:
    """The default for `FetchOptions.progress`."""


@dataclass(frozen=True)
class FetchOptions:
    """How to fetch.

    link: hard link the store's blobs instead of copying them, for a store that nobody writes into.
    deep: hash a snapshot that is there already, and mend it.
    lock_timeout_s: wait so long for another process's fetch, then download privately.
    timeout_s: give up after so long with FetchTimeout.
    progress: called with bytes done and bytes in all.
    """

    link: bool = False
    deep: bool = False
    lock_timeout_s: float = 900.0
    timeout_s: float | None = None
    progress: Callable[[int, int], None] = _ignore_progress


@dataclass(frozen=True)
class Timings:
    """Seconds: finding the digest; getting the files (0 if they were there); checking sizes or hashes (a part)."""

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
    digest, told = resolve(reference, store, cache)
    resolved = time.perf_counter()
    manifest = cache.lookup(digest, deep=options.deep)
    verify_s = time.perf_counter() - resolved
    if manifest is not None:
        timings = Timings(resolved - started, 0.0, verify_s)
        snapshot = Snapshot(cache.snapshot_path(digest), manifest, digest, timings, "cache")
    else:
        snapshot = _fetch_cold(reference, digest, store, cache, options, resolved - started)
    if told:
        # Only now: an answer without its snapshot would be of no use when the store is away.
        cache.remember_ref(reference.name, reference.tag, digest)
    return snapshot


def _fetch_cold(
    reference: Reference, digest: str, store: Store, cache: NodeCache, options: FetchOptions, resolve_s: float
) -> Snapshot:
    started = time.perf_counter()
    manifest = _read_manifest(reference, digest, store)
    installation = Installation(manifest, store, cache, link=options.link, deep=options.deep)
    installation.progress = options.progress
    if options.timeout_s is not None:
        installation.deadline = time.monotonic() + options.timeout_s
    wait_s = min(options.lock_timeout_s, options.timeout_s or options.lock_timeout_s)
    with cache.single_flight(digest, wait_s):
        cache.on_step("locked")
        # The one waited for may have done it all; what it left is checked, not believed.
        fetched = cache.lookup(digest, deep=options.deep) is None
        if fetched:
            installation.run()
    timings = Timings(resolve_s, time.perf_counter() - started, installation.verify_s)
    source: Literal["cache", "store"] = "store" if fetched else "cache"
    return Snapshot(cache.snapshot_path(digest), manifest, digest, timings, source, installation.fetched_bytes)


def _read_manifest(reference: Reference, digest: str, store: Store) -> Manifest:
    try:
        return store.read_manifest(digest)
    except MissingManifest as error:
        raise MissingManifest(
            f"{reference}: {error.problem}",
            f"Publish it again: model-store publish {reference.name} --store {store.url}",
            **error.details,
        ) from None


def resolve(reference: Reference, store: Store, cache: NodeCache) -> tuple[str, bool]:
    """The digest that a reference stands for, and whether the store told it.

    A digest asks nobody; the cache's last answer bridges an absent store.
    """
    if reference.digest is not None:
        return reference.digest, False
    try:
        digest = store.read_ref(reference.name, reference.tag)
    except StoreUnreachable as error:
        return _last_known(reference, cache, error), False
    if digest is None:
        raise not_published(reference, store)
    return digest, True


def _last_known(reference: Reference, cache: NodeCache, error: StoreUnreachable) -> str:
    """What the store last said, if that snapshot is here."""
    digest = cache.read_ref(reference.name, reference.tag)
    if digest is None or cache.lookup(digest) is None:
        raise error
    log.warning("%s The cached snapshot of %s is used: sha256:%s.", error.problem, reference, digest)
    return digest


def not_published(reference: Reference, store: Store) -> NotPublished:
    """An error that names what there is, the nearest name, and the command to publish."""
    refs = store.list_refs()
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
