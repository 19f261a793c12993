"""Verbs that bring snapshots into the node cache and check them."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from model_store.cache.node_cache import NodeCache
from model_store.cli.common import CACHE, STORE, CachedOption, CacheOption, JsonOption, QuotaOption, StoreOption, app
from model_store.console import print_json, progress_bar
from model_store.fetching.fetch import FetchOptions, Snapshot, fetch
from model_store.stores import Store, open_store
from model_store.trust.policy import TrustPolicy
from model_store.upkeep.verify import verify


@app.command("fetch")
def fetch_command(
    name: str,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    link: Annotated[bool, typer.Option(help="Hard link a store that nobody writes into.")] = False,
    deep: Annotated[bool, typer.Option(help="Hash what is there already, and mend it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
    quota: QuotaOption = None,
    key: Annotated[list[Path] | None, typer.Option(help="One of these public keys must have signed it.")] = None,
    pickle: Annotated[bool, typer.Option(help="Without --key: let a model in that holds pickles.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Fetch NAME[@TAG|@sha256:DIGEST] into this machine's cache and print its path."""
    with progress_bar(name, quiet=as_json) as progress:
        trust = TrustPolicy(tuple(key or ()), pickle)
        options = FetchOptions(link=link, deep=deep, timeout_s=timeout, progress=progress, trust=trust)
        snapshot = fetch(name, open_store(store), NodeCache(cache, quota_bytes=quota), options)
    if as_json:
        print_json(_fetched(snapshot))
    else:
        print(snapshot.path)


def _fetched(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "path": str(snapshot.path),
        "digest": snapshot.digest,
        "source": snapshot.source,
        "bytes": snapshot.manifest.size,
        "fetched_bytes": snapshot.fetched_bytes,
        "timings": snapshot.timings.as_dict(),
    }


@app.command("verify")
def verify_command(
    name: Annotated[str | None, typer.Argument(help="One model; default: all.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read and hash all bytes, not only sizes.")] = False,
    cached: CachedOption = False,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    as_json: JsonOption = False,
) -> None:
    """Check the store, or with --cached the node cache; exit code 1 if anything is wrong."""
    place: Store | NodeCache = NodeCache(cache) if cached else open_store(store)
    problems = verify(place, deep=deep, name=name)
    if as_json:
        print_json([vars(problem) for problem in problems])
    else:
        print("\n".join(str(problem) for problem in problems) or "All is as it must be.")
    if problems:
        mend = "model-store repair NAME --cached" if cached else "model-store repair NAME, or model-store publish NAME"
        print(f"{len(problems)} problems. To mend: {mend}", file=sys.stderr)
        raise typer.Exit(1)
