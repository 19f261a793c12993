"""Objects by their schemas, strictly: the API's own from kubernetes-validate, custom resources from crds/."""

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from serve_app.kuberay_check.manifests import Manifest
from serve_app.yaml_source import Problem

KUBERNETES = ("1.30", "1.37")
"""The oldest and the newest API that takes the manifests."""
CRDS = Path(__file__).parent / "crds"


def schema_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield where an object does not fit its schema, unknown keys included; of one of the API's own the first place."""
    kind, version = manifest.get("kind"), manifest.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        yield Problem((), "has no kind or no apiVersion")
        return
    path = CRDS / f"{kind.lower()}.{version.replace('/', '-')}.json.gz"
    if not path.is_file():
        yield from _of_the_api(manifest)
        return
    for error in _validator(path).iter_errors(manifest):
        yield Problem(tuple(error.absolute_path), error.message)
    metadata = manifest.get("metadata", {})  # which a CRD leaves open
    yield from _of_the_api({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def _of_the_api(manifest: Manifest) -> Iterator[Problem]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield Problem(tuple(error.absolute_path), f"{error.message} (Kubernetes {version})")
            return
        except kubernetes_validate.SchemaNotFoundError as error:
            yield Problem((), error.message)
            return


@cache
def _validator(path: Path) -> Any:
    return jsonschema.Draft202012Validator(strict(json.loads(gzip.decompress(path.read_bytes()))))


def strict(node: Any) -> Any:
    """Return a CRD's schema that refuses unknown keys, with int-or-string typed, `required` dropped where defaulted."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {key: strict(value) for key, value in node.items()}
    properties = node.get("properties")
    if isinstance(properties, dict) and node.get("type") == "object":
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
        if isinstance(node.get("required"), list):
            made["required"] = [key for key in node["required"] if "default" not in properties.get(key, {})]
    if node.get("x-kubernetes-int-or-string"):
        made |= {"type": ["integer", "string"]}
        made.pop("anyOf", None)
    return made
