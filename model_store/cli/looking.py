"""Verbs that look into a store."""

from typing import Any

from model_store.cli.common import STORE, JsonOption, StoreOption, app
from model_store.console import human_size, print_json, print_table
from model_store.errors import ManifestError, NotPublished
from model_store.fetching.lookup import digest_of
from model_store.manifest import Manifest
from model_store.references import Reference
from model_store.stores import Store, open_store


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
    place = open_store(store)
    digest = digest_of(Reference.parse(name), place)
    manifest = place.read_manifest(digest)
    if as_json:
        print_json({"digest": digest, **manifest.model_dump(mode="json")})
        return
    for key, value in {"digest": digest, **_summary(manifest)}.items():
        if value not in ("", [], {}, None):
            print(f"{key + ':':14} {value}")
    print_table(["FILE", "BYTES", "SHA256"], [[file.path, str(file.size), file.sha256] for file in manifest.files])
