"""Verbs about space: what takes it, what is kept, what goes."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from model_store.cache.eviction import free_space
from model_store.cache.node_cache import NodeCache
from model_store.cache.usage import SnapshotUse, Usage, measure
from model_store.cli.common import CACHE, STORE, CachedOption, CacheOption, JsonOption, QuotaOption, StoreOption, app
from model_store.console import human_size, print_json, print_table
from model_store.references import Reference
from model_store.stores import open_store
from model_store.upkeep.garbage import GRACE_S, collect_garbage, tidy
from model_store.upkeep.removal import remove_cached, remove_refs


@app.command()
def du(cache: CacheOption = CACHE, quota: QuotaOption = None, as_json: JsonOption = False) -> None:
    """Show what takes the node cache's space, when it was used and what keeps it."""
    place = NodeCache(cache, quota_bytes=quota)
    usage = measure(place)
    snapshots = sorted(usage.snapshots, key=lambda use: -use.used_at)
    if as_json:
        print_json({**_totals(place, usage), "snapshots": [_described(use) for use in snapshots]})
        return
    rows = [
        [use.model, f"sha256:{use.digest[:12]}", human_size(use.bytes), human_size(use.unique_bytes), *_state(use)]
        for use in snapshots
    ]
    print_table(["MODEL", "DIGEST", "SIZE", "UNIQUE", "USED", "KEPT"], rows)
    if usage.orphans:
        orphaned = sum(orphan.size for orphan in usage.orphans)
        print(f"{human_size(orphaned)} in {len(usage.orphans)} blobs of no snapshot: model-store gc --cached")
    limit = f" of {human_size(quota)}" if quota else ""
    print(f"{human_size(usage.used_bytes)}{limit} used, {human_size(free_space(place.root))} free on the disk")


def _totals(cache: NodeCache, usage: Usage) -> dict[str, Any]:
    return {
        "used_bytes": usage.used_bytes,
        "quota_bytes": cache.quota_bytes,
        "free_bytes": free_space(cache.root),
        "orphaned_bytes": sum(orphan.size for orphan in usage.orphans),
    }


def _described(use: SnapshotUse) -> dict[str, Any]:
    return {
        "model": use.model,
        "digest": use.digest,
        "complete": use.manifest is not None,
        "bytes": use.bytes,
        "unique_bytes": use.unique_bytes,
        "shared_bytes": use.bytes - min(use.unique_bytes, use.bytes),
        "used": datetime.fromtimestamp(use.used_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "pinned": use.pinned,
        "holders": [{"pid": held.pid, "host": held.host, "program": held.program} for held in use.holders],
    }


def _state(use: SnapshotUse) -> list[str]:
    kept = ["pinned"] if use.pinned else []
    kept += [f"used by {holder}" for holder in use.holders]
    kept += [] if use.manifest else ["incomplete"]
    return [_ago(time.time() - use.used_at), ", ".join(kept)]


def _ago(seconds: float) -> str:
    """A span of time in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"


@app.command()
def pin(name: str, cache: CacheOption = CACHE, as_json: JsonOption = False) -> None:
    """Never evict NAME[@TAG|@sha256:DIGEST] from this machine's cache."""
    _set_pin(name, NodeCache(cache), True, as_json)


@app.command()
def unpin(name: str, cache: CacheOption = CACHE, as_json: JsonOption = False) -> None:
    """Let NAME[@TAG|@sha256:DIGEST] be evicted again."""
    _set_pin(name, NodeCache(cache), False, as_json)


def _set_pin(name: str, cache: NodeCache, pinned: bool, as_json: bool) -> None:
    manifest = cache.find(Reference.parse(name))
    if pinned:
        cache.pin(manifest.digest)
    else:
        cache.unpin(manifest.digest)
    if as_json:
        print_json({"name": manifest.name, "digest": manifest.digest, "pinned": pinned})
    else:
        print(f"{manifest.name}@{manifest.revision} is {'pinned' if pinned else 'no longer pinned'}")


@app.command()
def rm(
    name: str,
    cached: CachedOption = False,
    all_tags: Annotated[bool, typer.Option("--all-tags", help="All of NAME, whatever its tag.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --cached: even if it is pinned or in use.")] = False,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    as_json: JsonOption = False,
) -> None:
    """Remove NAME[@TAG] from the store's refs (gc frees the space), or with --cached from this machine."""
    if cached:
        gone = remove_cached(name, NodeCache(cache), all_tags=all_tags, force=force)
        if as_json:
            print_json([{"model": use.model, "digest": use.digest, "bytes": use.unique_bytes} for use in gone])
        for use in [] if as_json else gone:
            print(f"{use.model}  sha256:{use.digest[:12]}  {human_size(use.unique_bytes)} freed")
        return
    removed = remove_refs(name, open_store(store), all_tags=all_tags)
    if as_json:
        print_json(asdict(removed))
        return
    print("\n".join(f"{ref.name}@{ref.tag}  sha256:{ref.digest[:12]}  removed" for ref in removed.refs))
    if removed.still_named:
        names = ", ".join(f"{ref.name}@{ref.tag}" for ref in removed.still_named)
        print(f"The files stay: {names} still names them. To remove all: model-store rm {name} --all-tags")
    elif removed.bytes:
        print(f"model-store gc will free {human_size(removed.bytes)} once they are older than its grace.")


@app.command()
def gc(
    cached: CachedOption = False,
    grace: Annotated[float, typer.Option(min=0, help="Leave what is younger than so many hours.")] = GRACE_S / 3600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on though a manifest is damaged; its files go.")] = False,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    as_json: JsonOption = False,
) -> None:
    """Remove what no ref names from the store, or with --cached what dead processes left in this machine's cache."""
    if cached:
        found: Any = tidy(NodeCache(cache), grace_s=grace * 3600, dry_run=dry_run)
    else:
        found = collect_garbage(open_store(store), grace_s=grace * 3600, dry_run=dry_run, force=force)
    if as_json:
        print_json({**asdict(found), "dry_run": dry_run})
        return
    things = {key: len(value) for key, value in asdict(found).items() if key != "bytes" and value}
    what = ", ".join(f"{count} {key}" for key, count in things.items()) or "nothing"
    print(f"{'Would remove' if dry_run else 'Removed'} {what}: {human_size(found.bytes)}")
