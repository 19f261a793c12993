"""`model-store`: publish, list, show, fetch and verify models."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from model_store.cache import NodeCache
from model_store.catalog import DEFAULT_CATALOG, Catalog, Entry
from model_store.console import human_size, print_error, print_json, print_table, progress_bar
from model_store.errors import ManifestError, ModelStoreError, NotPublished, UsageError
from model_store.fetch import FetchOptions, Snapshot, fetch, not_published
from model_store.manifest import Manifest
from model_store.publish import ModelInfo, Published, publish
from model_store.references import Reference
from model_store.sources import parse_source
from model_store.store import Store, open_store
from model_store.verify import verify

HELP = """Publish speech models once, fetch them anywhere as complete and verified directories.

\b
Exit codes:
  0  all is well
  1  verify found problems
  2  wrong usage, or a wrong catalog
  3  not published
  4  the store, the cache or the source failed

RAYSCRIBE_STORE and RAYSCRIBE_CACHE set the places (default: ./.rayscribe/store and ./.rayscribe/cache).
"""

app = typer.Typer(
    name="model-store",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
StoreOption = Annotated[str, typer.Option("--store", envvar="RAYSCRIBE_STORE", help="Directory or URL of the store.")]
CacheOption = Annotated[Path, typer.Option("--cache", envvar="RAYSCRIBE_CACHE", help="This machine's node cache.")]
CatalogOption = Annotated[Path, typer.Option("--catalog", help="Which models there are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
STORE = "./.rayscribe/store"
CACHE = Path("./.rayscribe/cache")


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


@app.command("list")
def list_command(store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """List what the store holds."""
    place = open_store(store)
    refs = [(ref, _manifest_or_none(place, ref.digest)) for ref in place.list_refs()]
    if as_json:
        print_json([{"name": ref.name, "tag": ref.tag, "digest": ref.digest, **_summary(m)} for ref, m in refs])
        return
    rows = [[f"{ref.name}@{ref.tag}", f"sha256:{ref.digest[:12]}", *_cells(manifest)] for ref, manifest in refs]
    print_table(["MODEL", "DIGEST", "SIZE", "KIND", "COMPUTE", "LICENCE"], rows)


def _manifest_or_none(store: Store, digest: str) -> Manifest | None:
    """One manifest that is missing or damaged must not hide the others."""
    try:
        return store.read_manifest(digest)
    except (ManifestError, NotPublished):
        return None


def _cells(manifest: Manifest | None) -> list[str]:
    if manifest is None:
        return ["-", "damaged: model-store verify", "", ""]
    return [human_size(manifest.size), manifest.kind, manifest.compute_type, manifest.licence]


def _summary(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"damaged": True}
    return {"bytes": manifest.size, **manifest.model_dump(mode="json", exclude={"files", "schema_version"})}


@app.command()
def show(name: str, store: StoreOption = STORE, as_json: JsonOption = False) -> None:
    """Show one model's manifest: NAME, NAME@TAG or NAME@sha256:DIGEST."""
    place, reference = open_store(store), Reference.parse(name)
    digest = reference.digest or place.read_ref(reference.name, reference.tag)
    if digest is None:
        raise not_published(reference, place)
    manifest = place.read_manifest(digest)
    if as_json:
        print_json({"digest": digest, **manifest.model_dump(mode="json")})
        return
    for key, value in {"digest": digest, **_summary(manifest)}.items():
        if value not in ("", [], {}, None):
            print(f"{key + ':':14} {value}")
    print_table(["FILE", "BYTES", "SHA256"], [[file.path, str(file.size), file.sha256] for file in manifest.files])


@app.command("fetch")
def fetch_command(
    name: str,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    link: Annotated[bool, typer.Option(help="Hard link a store that nobody writes into.")] = False,
    deep: Annotated[bool, typer.Option(help="Hash what is there already, and mend it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Give up after so many seconds.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch NAME[@TAG|@sha256:DIGEST] into this machine's cache and print its path."""
    with progress_bar(name, quiet=as_json) as progress:
        options = FetchOptions(link=link, deep=deep, timeout_s=timeout, progress=progress)
        snapshot = fetch(name, open_store(store), NodeCache(cache), options)
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
    cached: Annotated[bool, typer.Option("--cached", help="Check the node cache instead of the store.")] = False,
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
        mend = "model-store fetch NAME --deep" if cached else "model-store publish NAME"
        print(f"{len(problems)} problems. To mend: {mend}", file=sys.stderr)
        raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except ModelStoreError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
