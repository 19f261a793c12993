"""All rules over all manifests: a line per problem, `FILE: PLACE: PROBLEM`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from model_store.publishing.catalog import Catalog
from serve_app.kuberay_check.manifests import Manifest, RenderError, can_render, read, render
from serve_app.kuberay_check.operator_rules import operator_problems
from serve_app.kuberay_check.pod_rules import pod_problems
from serve_app.kuberay_check.schemas import schema_problems
from serve_app.kuberay_check.serve_rules import serve_problems
from serve_app.serve_config import CATALOG
from serve_app.yaml_source import Problem, Source


def all_problems(root: Path) -> list[str]:
    """Return what is wrong with the files under kuberay/, or, where they are sound, with the overlays they make."""
    files = [line for path in sorted((root / "kuberay").rglob("*.yaml")) for line in file_problems(path, root)]
    if files or not can_render():
        return files
    catalog = Catalog.load(root / "configs" / CATALOG)
    overlays = sorted(path for path in (root / "kuberay" / "overlays").iterdir() if path.is_dir())
    return [line for path in overlays for line in overlay_problems(path, root, catalog)]


def file_problems(path: Path, root: Path) -> list[str]:
    """Return what is wrong with the objects of one file; the Serve config is the overlays' own."""
    name = str(path.relative_to(root))
    try:
        return list(_lines(name, read(path), None))
    except yaml.YAMLError as error:
        return [f"{name}: not YAML: {getattr(error, 'problem', None) or error}"]


def overlay_problems(overlay: Path, root: Path, catalog: Catalog) -> list[str]:
    """Return what is wrong with what an overlay comes to."""
    name = str(overlay.relative_to(root))
    try:
        return list(_lines(name, render(overlay), catalog))
    except RenderError as error:
        return [f"{name}: cannot be rendered: {error}"]


def problems_of(manifest: Manifest, catalog: Catalog | None) -> list[Problem]:
    """Return what is wrong with an object: its schema, else the rules; with a catalog, its Serve config at last."""
    if problems := list(schema_problems(manifest)):
        return problems
    problems = list(pod_problems(manifest))
    if manifest["kind"] == "RayService":
        problems += operator_problems(manifest)
        if catalog and not problems:
            problems += serve_problems(manifest, catalog)
    return problems


def _lines(name: str, manifests: Sequence[Manifest], catalog: Catalog | None) -> Iterator[str]:
    for manifest in manifests:
        for problem in problems_of(manifest, catalog):
            yield f"{name}: {_place(manifest, problem)}: {problem.message}"


def _place(manifest: Manifest, problem: Problem) -> str:
    """Write a place as `StatefulSet/redis spec.replicas`."""
    metadata = manifest.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{manifest.get('kind')}/{name} {Source(manifest, None).name(problem.place)}".rstrip()
