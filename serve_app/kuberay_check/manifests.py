"""Where manifests come from: files, and overlays that kubectl's kustomize renders."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]
"""An object for the Kubernetes API."""


LOCAL = "config.kubernetes.io/local-config"


class RenderError(Exception):
    """An overlay that kustomize refuses; the message is kustomize's."""


def can_render() -> bool:
    """Return whether this machine has kubectl."""
    return shutil.which("kubectl") is not None


def render(overlay: Path) -> list[Manifest]:
    """Return an overlay's objects. Raises RenderError."""
    done = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RenderError(" ".join(done.stderr.split()))
    return list(yaml.safe_load_all(done.stdout))


def read(path: Path) -> list[Manifest]:
    """Return the objects of a file that are meant for a cluster: no patches, nothing that kustomize keeps to itself.

    Raises yaml.YAMLError.
    """
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if isinstance(each, dict) and not _local(each)]


def _local(manifest: Manifest) -> bool:
    annotations = (manifest.get("metadata") or {}).get("annotations") or {}
    return manifest.get("kind") in ("Kustomization", "Component") or LOCAL in annotations
