"""What the overlays of kuberay/ come to, where there is kubectl."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from serve_app.kuberay_check import manifests
from serve_app.kuberay_check.manifests import Manifest
from tests.conftest import ROOT

KUBERAY = ROOT / "kuberay"
OVERLAYS = sorted(path.name for path in (KUBERAY / "overlays").iterdir())


def render(overlay: Path) -> list[Manifest]:
    """An overlay's objects."""
    if not manifests.can_render():
        pytest.skip("needs kubectl, for its kustomize")
    return manifests.render(overlay)


def rendered(name: str) -> list[Manifest]:
    """The objects of an overlay that we ship, for the test to change."""
    return copy.deepcopy(_rendered(name))


@cache
def _rendered(name: str) -> list[Manifest]:
    return render(KUBERAY / "overlays" / name)


def service_of(documents: list[Manifest]) -> Manifest:
    """The one RayService."""
    (found,) = (each for each in documents if each["kind"] == "RayService")
    return found


def head_of(service: Manifest) -> Any:
    """The head's group."""
    return service["spec"]["rayClusterConfig"]["headGroupSpec"]


def worker_of(service: Manifest, index: int) -> Any:
    """A group of workers."""
    return service["spec"]["rayClusterConfig"]["workerGroupSpecs"][index]


def container_of(owner: Any) -> Any:
    """The first container of a group, or of an object of the API's own."""
    return owner.get("spec", owner)["template"]["spec"]["containers"][0]
