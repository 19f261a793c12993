"""Verbs that write to a store."""

from pathlib import Path
from typing import Annotated, Any

import typer

from model_store.catalog import DEFAULT_CATALOG, Catalog, Entry
from model_store.cli.common import STORE, CatalogOption, JsonOption, StoreOption, app
from model_store.console import human_size, print_json, progress_bar
from model_store.errors import UsageError
from model_store.publish import ModelInfo, Published, publish
from model_store.sources import parse_source
from model_store.stores import Store, open_store


@app.command("publish")
def publish_command(
    names: Annotated[list[str] | None, typer.Argument(help="Names or patterns of the catalog: 'demo-*'.")] = None,
    all_demo: Annotated[bool, typer.Option("--all-demo", help="The same as 'demo-*'.")] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from", help="directory:PATH, hub:REPO@REVISION, package:DIST/PATH, or hub for the repository NAME."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Tag to publish as, beside latest.")] = None,
    kind: Annotated[str | None, typer.Option(help="For a model that is not in the catalog: its loader.")] = None,
    licence: Annotated[str, typer.Option(help="For a model that is not in the catalog.")] = "",
    language: Annotated[list[str] | None, typer.Option(help="The same; may be repeated.")] = None,
    compute_type: Annotated[str, typer.Option(help="The same: float16, int8 …")] = "",
    memory_mb: Annotated[int, typer.Option(help="The same: what its weights take once loaded.")] = 0,
    store: StoreOption = STORE,
    catalog: CatalogOption = DEFAULT_CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Publish models of the catalog, or one from anywhere with --from. Doing it again mends a damaged store."""
    wanted = [*(names or []), *(["demo-*"] if all_demo else [])]
    if not wanted:
        raise UsageError("Nothing to publish.", "Name models: model-store publish 'demo-*'")
    info = ModelInfo(kind or "", licence, tuple(language or ()), compute_type, memory_mb)
    place = open_store(store)
    if origin is None:
        listed = Catalog.load(catalog)
        chosen = dict.fromkeys(name for pattern in wanted for name in listed.select(pattern))
        done = [_publish_listed(listed, name, place, revision, as_json) for name in chosen]
    elif len(wanted) == 1:
        done = [_publish_from(origin, wanted[0], place, revision, info, catalog, as_json)]
    else:
        raise UsageError("--from publishes one model.", "Give one name.")
    if as_json:
        print_json([_published(one) for one in done])


def _publish_listed(listed: Catalog, name: str, store: Store, revision: str | None, as_json: bool) -> Published:
    entry = listed.entries[name]
    source, extra = listed.source(name), listed.extra(name)
    with progress_bar(name, quiet=as_json) as progress:
        done = publish(source, name, store, revision or entry.tag, entry.info(), extra=extra, progress=progress)
    return _tell(done, as_json)


def _publish_from(
    origin: str, name: str, store: Store, revision: str | None, info: ModelInfo, catalog: Path, as_json: bool
) -> Published:
    entry = _entry(catalog, name)
    if entry is None and not info.kind:
        raise UsageError(f"{name} is not in {catalog}.", "Say what it is with --kind, for example --kind whisper-ct2.")
    spec = f"hub:{name}@{revision or 'main'}" if origin == "hub" else origin
    allow = entry.allow if entry else ()
    source = parse_source(spec, Path.cwd(), allow)
    tag = revision or (spec.partition("@")[2] if spec.startswith("hub:") else "") or (entry.tag if entry else "v1")
    extra = Catalog.load(catalog).extra(name) if entry else ()
    with progress_bar(name, quiet=as_json) as progress:
        done = publish(source, name, store, tag, entry.info() if entry else info, extra=extra, progress=progress)
    return _tell(done, as_json)


def _entry(catalog: Path, name: str) -> Entry | None:
    """What the catalog says of a model; a catalog that is not there says nothing."""
    return Catalog.load(catalog).entries.get(name) if catalog.exists() else None


def _tell(done: Published, as_json: bool) -> Published:
    if not as_json:
        manifest = done.manifest
        what = f"{len(manifest.files)} files, {human_size(manifest.size)}"
        state = "was there already" if done.reused and not done.uploaded_bytes else "published"
        print(f"{manifest.name}@{manifest.revision}  sha256:{done.digest[:12]}  {what}  {state}")
    return done


def _published(done: Published) -> dict[str, Any]:
    manifest = done.manifest
    return {
        "name": manifest.name,
        "revision": manifest.revision,
        "digest": done.digest,
        "bytes": manifest.size,
        "uploaded_bytes": done.uploaded_bytes,
        "reused": done.reused,
    }
