"""Verbs that keep models right, near and new."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from model_store.cache.hub_layout import write_hub_view
from model_store.cache.node_cache import NodeCache
from model_store.cli.common import (
    CACHE,
    STORE,
    CachedOption,
    CacheOption,
    CatalogOption,
    JsonOption,
    QuotaOption,
    StoreOption,
    app,
)
from model_store.console import human_size, print_json, print_table, progress_bar
from model_store.publishing.catalog import DEFAULT_CATALOG, Catalog
from model_store.references import Reference
from model_store.stores import open_store
from model_store.upkeep.copying import Copied, copy_models
from model_store.upkeep.doctor import examine
from model_store.upkeep.outdated import compare_with_hub
from model_store.upkeep.repair import repair_cache, repair_store


@app.command()
def path(name: str, cache: CacheOption = CACHE, as_json: JsonOption = False) -> None:
    """Print the directory of NAME[@TAG|@sha256:DIGEST] in this machine's cache, without asking the store."""
    place = NodeCache(cache)
    manifest = place.find(Reference.parse(name))
    found = place.snapshot_path(manifest.digest)
    place.touch(manifest.digest)
    if as_json:
        print_json(
            {"path": str(found), "digest": manifest.digest, "name": manifest.name, "revision": manifest.revision}
        )
    else:
        print(found)


@app.command()
def repair(
    name: str,
    cached: CachedOption = False,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    catalog: CatalogOption = DEFAULT_CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Hash all of NAME[@TAG] and bring back what is wrong: in the store, or with --cached in this machine's cache."""
    place, node = open_store(store), NodeCache(cache)
    if cached:
        done = repair_cache(name, node, place)
    else:
        done = repair_store(name, place, node, Catalog.load(catalog) if catalog.exists() else None)
    if as_json:
        print_json([asdict(one) for one in done])
    else:
        print("\n".join(f"{one.model}: {one.path}: repaired" for one in done) or "All was as it must be.")


@app.command()
def outdated(
    name: Annotated[str | None, typer.Argument(help="One model; default: all.")] = None,
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Compare the published models that came from the Hugging Face Hub with what it has now."""
    found = compare_with_hub(open_store(store), name)
    if as_json:
        print_json([{**asdict(one), "outdated": one.outdated} for one in found])
        return
    rows = [
        [one.model, one.repository, one.published[:12], one.current[:12], "outdated" if one.outdated else "current"]
        for one in found
    ]
    print_table(["MODEL", "REPOSITORY", "PUBLISHED", "HUB", "STATE"], rows)


@app.command()
def copy(
    name: str,
    to: Annotated[str, typer.Option("--to", help="Directory or URL of the other store.")],
    store: StoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Copy NAME[@TAG|@sha256:DIGEST] or a pattern into another store, with signatures and refs."""
    with progress_bar(name, quiet=as_json) as progress:
        done = copy_models(name, open_store(store), open_store(to), progress)
    if as_json:
        print_json([_copied(one) for one in done])
        return
    for one in done:
        state = f"{human_size(one.copied_bytes)} copied" if one.copied_bytes else "was there already"
        tags = ", ".join(ref.tag for ref in one.refs)
        print(f"{one.manifest.name}@{one.manifest.revision}  sha256:{one.manifest.digest[:12]}  {tags}  {state}")


def _copied(one: Copied) -> dict[str, Any]:
    return {
        "name": one.manifest.name,
        "digest": one.manifest.digest,
        "tags": [ref.tag for ref in one.refs],
        "bytes": one.manifest.size,
        "copied_bytes": one.copied_bytes,
    }


@app.command("hub-view")
def hub_view(
    names: list[str],
    to: Annotated[Path, typer.Option("--to", help="A Hugging Face cache: what HF_HUB_CACHE names.")],
    cache: CacheOption = CACHE,
    as_json: JsonOption = False,
) -> None:
    """Show cached NAMES in the layout of a Hugging Face cache, for other tools to load without a copy."""
    place = NodeCache(cache)
    manifests = [place.find(Reference.parse(name)) for name in names]
    with place.writing():
        shown = [write_hub_view(place.snapshot_path(one.digest), one, to) for one in manifests]
    if as_json:
        print_json([{"name": one.name, "path": str(path)} for one, path in zip(manifests, shown, strict=True)])
    else:
        print("\n".join(map(str, shown)))


@app.command()
def doctor(
    store: StoreOption = STORE, cache: CacheOption = CACHE, quota: QuotaOption = None, as_json: JsonOption = False
) -> None:
    """Check the places, the file system and the environment; exit code 1 if fetching cannot work."""
    found = examine(store, NodeCache(cache, quota_bytes=quota))
    if as_json:
        print_json([asdict(one) for one in found])
    for one in [] if as_json else found:
        print(f"{one.state:4}  {one.name}: {one.text}")
        if one.mend and one.state != "ok":
            print(f"      {one.mend}")
    failed = [one.name for one in found if one.state == "fail"]
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}", file=sys.stderr)
        raise typer.Exit(1)
