"""Verbs that write to a store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from model_store.cli.common import STORE, CatalogOption, JsonOption, StoreOption, app
from model_store.console import human_size, print_json, progress_bar
from model_store.errors import UsageError
from model_store.publishing.catalog import DEFAULT_CATALOG, Catalog, Entry
from model_store.publishing.convert import Recipe, converted
from model_store.publishing.pickles import WithoutPickles
from model_store.publishing.publish import Extra, ModelInfo, Published, publish
from model_store.sources import Source, parse_source
from model_store.stores import Store, open_store
from model_store.trust.signing import read_key, sign


@dataclass(frozen=True)
class _How:
    """What holds for all models of one call. `key`: a private key in PEM to sign with."""

    store: Store
    revision: str | None
    recipe: Recipe | None
    allow: tuple[str, ...]
    allow_pickle: bool
    key: bytes | None
    deep: bool
    as_json: bool


@app.command("publish")
def publish_command(
    names: Annotated[list[str] | None, typer.Argument(help="Names or patterns of the catalog: 'demo-*'.")] = None,
    all_demo: Annotated[bool, typer.Option("--all-demo", help="The same as 'demo-*'.")] = False,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="directory:PATH, hub:REPO@REVISION, s3://BUCKET/PREFIX, https://HOST/FILE, torchaudio:BUNDLE, "
            "nltk:PACKAGE, package:DIST/PATH, bundle:FILE#NAME, or hub for the repository NAME.",
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Tag to publish as, beside latest.")] = None,
    kind: Annotated[str | None, typer.Option(help="For a model that is not in the catalog: its loader.")] = None,
    licence: Annotated[str, typer.Option(help="For a model that is not in the catalog.")] = "",
    language: Annotated[list[str] | None, typer.Option(help="The same; may be repeated.")] = None,
    compute_type: Annotated[str, typer.Option(help="The same, and what --convert makes: float16, int8 …")] = "",
    memory_mb: Annotated[int, typer.Option(help="The same: what its weights take once loaded.")] = 0,
    allow: Annotated[list[str] | None, typer.Option(help="With --from: files to take, as patterns.")] = None,
    convert: Annotated[str | None, typer.Option(help="With --from: convert to whisper-ct2 or safetensors.")] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Publish files that run code if loaded.")
    ] = False,
    deep: Annotated[
        bool, typer.Option(help="Read back what the store holds already, even if it vouches for it.")
    ] = False,
    sign_with: Annotated[Path | None, typer.Option("--sign", help="Sign with this private key in PEM.")] = None,
    store: StoreOption = STORE,
    catalog: CatalogOption = DEFAULT_CATALOG,
    as_json: JsonOption = False,
) -> None:
    """Publish models of the catalog, or one from anywhere with --from. Doing it again mends a damaged store."""
    wanted = [*(names or []), *(["demo-*"] if all_demo else [])]
    recipe = Recipe.of(convert, compute_type) if convert else None
    _check_usage(wanted, origin, recipe, allow)
    key = read_key(sign_with) if sign_with else None
    how = _How(open_store(store), revision, recipe, tuple(allow or ()), allow_pickle, key, deep, as_json)
    if origin is None:
        listed = Catalog.load(catalog)
        chosen = dict.fromkeys(name for pattern in wanted for name in listed.select(pattern))
        done = [_publish_listed(listed, name, how) for name in chosen]
    else:
        default_kind = "whisper-ct2" if convert == "whisper-ct2" else ""
        info = ModelInfo(kind or default_kind, licence, tuple(language or ()), compute_type, memory_mb)
        done = [_publish_from(origin, wanted[0], info, catalog, how)]
    if as_json:
        print_json([_published(one) for one in done])


def _check_usage(wanted: list[str], origin: str | None, recipe: Recipe | None, allow: list[str] | None) -> None:
    if not wanted:
        raise UsageError("Nothing to publish.", "Name models: model-store publish 'demo-*'")
    if origin is not None and len(wanted) != 1:
        raise UsageError("--from publishes one model.", "Give one name.")
    if origin is None and (recipe or allow):
        raise UsageError(
            "--convert and --allow go with --from.", "For a model of the catalog, write `convert` and `allow` there."
        )


def _publish_listed(listed: Catalog, name: str, how: _How) -> Published:
    entry = listed.entries[name]
    how = replace(how, recipe=entry.recipe, allow_pickle=how.allow_pickle or entry.pickle)
    return _publish(listed.source(name), name, how.revision or entry.tag, entry.info(), listed.extra(name), how)


def _publish_from(origin: str, name: str, info: ModelInfo, catalog: Path, how: _How) -> Published:
    entry = _entry(catalog, name)
    if entry is None and not info.kind:
        raise UsageError(f"{name} is not in {catalog}.", "Say what it is with --kind, for example --kind whisper-ct2.")
    spec = f"hub:{name}@{how.revision or 'main'}" if origin == "hub" else origin
    # What the catalog says of pickles was said of its own source, not of this one.
    how = replace(how, recipe=how.recipe or (entry.recipe if entry else None))
    allow = how.allow or (entry.allow if entry else ()) or (how.recipe.allow if how.recipe else ())
    tag = how.revision or (spec.partition("@")[2] if spec.startswith("hub:") else "") or (entry.tag if entry else "v1")
    extra = Catalog.load(catalog).extra(name) if entry else ()
    return _publish(parse_source(spec, Path.cwd(), allow), name, tag, entry.info() if entry else info, extra, how)


def _publish(source: Source, name: str, tag: str, info: ModelInfo, extra: tuple[Extra, ...], how: _How) -> Published:
    with _prepared(source, info, how.recipe) as (source, info), progress_bar(name, quiet=how.as_json) as progress:
        if not how.allow_pickle:
            source = WithoutPickles(source, name)
            extra = tuple(replace(part, source=WithoutPickles(part.source, name)) for part in extra)
        done = publish(source, name, how.store, tag, info, extra=extra, progress=progress, deep=how.deep)
    if how.key:
        beside = how.store.read_signature(done.digest)
        how.store.write_signature(done.digest, sign(done.manifest, how.key, beside))
    return _tell(done, how.as_json)


@contextmanager
def _prepared(source: Source, info: ModelInfo, recipe: Recipe | None) -> Iterator[tuple[Source, ModelInfo]]:
    """The source, converted if there is a recipe, and what the manifest will then say."""
    if recipe is None:
        yield source, info
        return
    with converted(source, recipe) as done:
        yield done, done.describe(info)


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
