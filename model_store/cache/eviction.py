"""Room in the node cache: the least recently used snapshots go until what is needed fits."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from model_store.cache.leases import holders, remove_dead
from model_store.cache.usage import Orphan, SnapshotUse, Usage, measure
from model_store.console import human_size
from model_store.errors import CacheFull
from model_store.files import make_directory, write_atomically

if TYPE_CHECKING:
    from model_store.cache.node_cache import NodeCache

LOCK_TIMEOUT_S = 60.0
SECOND_LOOK_S = 0.1
log = logging.getLogger(__name__)


def make_room(cache: "NodeCache", needed: int) -> list[str]:
    """Let `needed` more bytes fit the quota and the disk; returns what was evicted, raises CacheFull if they cannot."""
    evicted: list[str] = []
    for last in (False, False, True):
        if needed <= 0 or _fits(cache, needed):
            break
        # Without the lock two processes may evict more than both need, never what is used.
        with cache.single_flight("eviction", LOCK_TIMEOUT_S), suppress(*(() if last else (CacheFull,))):
            remove_dead(cache.root)
            _evict_until_it_fits(cache, needed, evicted)
            break
        # Others may just have been between two leases, or about to finish.
        time.sleep(SECOND_LOOK_S)
    return evicted


def _evict_until_it_fits(cache: "NodeCache", needed: int, evicted: list[str]) -> None:
    usage = measure(cache)
    if not _could_fit(cache, usage, needed):
        raise cache_full(cache, usage, needed)
    tried: set[str] = set()
    while not _fits(cache, needed):
        # Looked at anew each time: others fetch, use and release meanwhile.
        usage = measure(cache)
        victim = next((one for one in _victims(usage) if one.digest not in tried), None)
        if victim is None:
            raise cache_full(cache, usage, needed)
        tried.add(victim.digest)
        if isinstance(victim, Orphan):
            remove_orphan(cache, victim)
        elif evict(cache, victim.digest):
            evicted.append(victim.digest)


def _fits(cache: "NodeCache", needed: int) -> bool:
    if needed > free_space(cache.root):
        return False
    if cache.quota_bytes is None:
        return True
    usage = measure(cache)
    return usage.used_bytes + usage.awaited_bytes + needed <= cache.quota_bytes


def _could_fit(cache: "NodeCache", usage: Usage, needed: int) -> bool:
    """Whether evicting all that may go would do: else nothing is evicted in vain."""
    everything = {use.digest for use in usage.snapshots if not use.kept}
    if needed > free_space(cache.root) + usage.freed(everything):
        return False
    return cache.quota_bytes is None or usage.without(everything) + usage.awaited_bytes + needed <= cache.quota_bytes


def _victims(usage: Usage) -> list[SnapshotUse | Orphan]:
    """What may go, the longest unused first."""
    victims: list[SnapshotUse | Orphan] = [*usage.orphans, *(use for use in usage.snapshots if not use.kept)]
    return sorted(victims, key=lambda one: (one.modified if isinstance(one, Orphan) else one.used_at, one.digest))


def evict(cache: "NodeCache", digest: str, *, forced: bool = False) -> bool:
    """Remove a snapshot and the blobs that only it used; False if it is in use after all, or was removed by another.

    The mark goes first: a snapshot without it is not believed, so a kill at any step leaves a sound cache. What was
    not finished is an orphan, which the next eviction or gc removes.
    """
    orphaned = {orphan.digest for orphan in measure(cache).orphans}
    cache.on_step("evict:chosen")
    with cache.staging() as stage:
        if not _taken_aside(cache, digest, stage / "snapshot", forced):
            return False
        cache.on_step("evict:renamed")
        shutil.rmtree(stage / "snapshot", ignore_errors=True)
        cache.on_step("evict:deleted")
        cache.forget(digest)
        for orphan in measure(cache).orphans:
            if orphan.digest not in orphaned:
                remove_orphan(cache, orphan)
                cache.on_step("evict:blob")
    return True


def _taken_aside(cache: "NodeCache", digest: str, aside: Path, forced: bool) -> bool:
    """Unmark a snapshot and move it away, unless someone uses it.

    Who holds first and looks then, either finds no mark, or is seen here. Who finds no mark fetches, under the lock
    that is taken here; where locks do not work, the second look after the rename puts back what was revived meanwhile.
    """
    mark, target = cache.mark_path(digest), cache.snapshot_path(digest)
    with _not_fetched(cache, digest) as alone:
        if not alone and not forced:
            return False
        text = _unmark(mark)
        cache.on_step("evict:unmarked")
        if forced or not _wanted(cache, digest):
            try:
                os.rename(target, aside)
            except FileNotFoundError:
                return False
            cache.on_step("evict:aside")
            if forced or not _wanted(cache, digest):
                return True
            with suppress(OSError):
                os.rename(aside, target)
        if text is not None:
            write_atomically(mark, text)
    return False


def _unmark(mark: Path) -> bytes | None:
    """Remove a mark; returns what it said."""
    try:
        text = mark.read_bytes()
        mark.unlink()
    except FileNotFoundError:
        return None
    return text


def _wanted(cache: "NodeCache", digest: str) -> bool:
    return cache.pinned(digest) or digest in holders(cache.root)


@contextmanager
def _not_fetched(cache: "NodeCache", digest: str) -> Iterator[bool]:
    """Keep fetches of a snapshot waiting; False if one is under way, True also where locks do not work."""
    lock = FileLock(cache.lock_path(digest), timeout=0, mode=0o666)
    try:
        make_directory(cache.lock_path(digest).parent)
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        log.warning("evicting sha256:%s without its lock: %s", digest, error)
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def remove_orphan(cache: "NodeCache", orphan: Orphan) -> None:
    """Remove a blob unless a fetch has begun to need it meanwhile."""
    if _awaited(cache, orphan.digest):
        return
    with cache.staging() as stage, suppress(FileNotFoundError):
        os.rename(orphan.path, stage / "orphan")
        cache.on_step("evict:blob-aside")
        if _awaited(cache, orphan.digest) and not orphan.path.exists():
            os.rename(stage / "orphan", make_directory(orphan.path.parent) / orphan.digest)


def _awaited(cache: "NodeCache", blob: str) -> bool:
    """Whether a fetch under way needs a blob."""
    return any(blob in holder.blobs for some in holders(cache.root).values() for holder in some)


def cache_full(cache: "NodeCache", usage: Usage, needed: int) -> CacheFull:
    """The error that names what fills the cache and how to mend it."""
    free = free_space(cache.root)
    limit = "" if cache.quota_bytes is None else f", {usage.used_bytes} of the quota of {cache.quota_bytes} are used"
    limit += f", other fetches bring {usage.awaited_bytes}" if usage.awaited_bytes else ""
    kept = sorted((use for use in usage.snapshots if use.kept), key=lambda use: (-use.unique_bytes, use.model))
    return CacheFull(
        f"The node cache at {cache.root} is full: the snapshot needs {needed} bytes, {free} are free{limit}."
        f"{_kept(kept[:5])}",
        _mend(cache, kept),
        needed=needed,
        free=free,
        used=usage.used_bytes,
        awaited=usage.awaited_bytes,
        quota=cache.quota_bytes,
        kept=[{"model": use.model, "digest": use.digest, "bytes": use.bytes, "pinned": use.pinned} for use in kept],
    )


def _kept(kept: list[SnapshotUse]) -> str:
    told = [f"{use.model} ({human_size(use.bytes)}, {_why(use)})" for use in kept]
    return f" Kept: {'; '.join(told)}." if told else ""


def _why(use: SnapshotUse) -> str:
    reasons = ["pinned"] if use.pinned else []
    return ", ".join([*reasons, *(f"used by {holder}" for holder in use.holders[:3])])


def _mend(cache: "NodeCache", kept: list[SnapshotUse]) -> str:
    ways = []
    if any(use.pinned for use in kept):
        ways.append("unpin a model (model-store unpin NAME)")
    if any(use.holders for use in kept):
        ways.append("stop a process that uses one")
    if cache.quota_bytes is not None:
        ways.append("raise RAYSCRIBE_CACHE_QUOTA or --quota")
    ways.append("set RAYSCRIBE_CACHE to a larger disk")
    return f"See model-store du; then {', or '.join(ways)}."


def free_space(root: Path) -> int:
    """Bytes that are free on the disk that holds `root`, or will hold it."""
    while not root.exists() and root != root.parent:
        root = root.parent
    return shutil.disk_usage(root).free
