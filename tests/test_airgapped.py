"""What docs/airgapped.md lists is what the overlay, compose.yaml, the Dockerfile and the config name."""

import re
from typing import Any

import pytest
import yaml

from serve_app.serve_config import load_serve_config
from tests.conftest import ROOT
from tests.serve_app.kuberay_helpers import render

OVERLAY = ROOT / "kuberay" / "overlays" / "airgapped"
PAGE = (ROOT / "docs" / "airgapped.md").read_text()
IMAGE = re.compile(r"^\| `(\S+)` \| ([^|]+?) \|", re.MULTILINE)


def listed(purpose: str) -> set[str]:
    """The images that the page lists for a purpose."""
    return {image for image, named in IMAGE.findall(PAGE) if named == purpose}


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """The overlay's documents."""
    return render(OVERLAY)


@pytest.fixture
def importer() -> Any:
    """The pod that takes the bundle."""
    return yaml.safe_load((OVERLAY / "import.yaml").read_text())


def images_of(documents: Any) -> set[str]:
    return set(re.findall(r"\bimage: (\S+)", yaml.safe_dump(documents)))


def test_the_images_of_the_overlay(rendered: list[dict[str, Any]], importer: Any) -> None:
    assert images_of(rendered) == listed("Kubernetes")
    assert images_of(importer) < listed("Kubernetes")


def test_the_images_of_one_machine() -> None:
    named = images_of(yaml.safe_load((ROOT / "compose.yaml").read_text()))
    assert {re.sub(r"\$\{\w+:-(\w+)\}", r"\1", image) for image in named} == listed("compose.yaml")


def test_the_images_that_others_are_built_on() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)", text, re.MULTILINE)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE))
    read = set(re.findall(r"(?:^FROM |^# syntax=|--from=|\bfrom=)([^\s,]+)", text, re.MULTILINE)) - stages
    assert {base if image == "${BASE_IMAGE}" else image for image in read} == listed("building, there")


def test_the_overlay_names_images_as_they_are_baked() -> None:
    """So that what is built there is what is pulled here; the rest is pulled and tagged by the page's own lines."""
    tags = set(re.findall(r"\$\{REGISTRY\}/([\w-]+):", (ROOT / "docker-bake.hcl").read_text()))
    (registry,) = set(re.findall(r"REGISTRY=(\S+)", PAGE))
    for image in listed("Kubernetes"):
        name = image.removeprefix(f"{registry}/").partition(":")[0]
        assert name in tags or f"docker tag docker.io/{image.partition('/')[2]} {image}\n" in PAGE


def test_the_models_are_those_of_the_config() -> None:
    (named,) = re.findall(r'^MODELS="(.+)"$', PAGE, re.MULTILINE)
    presets = load_serve_config(ROOT / "configs" / "gpu.yaml").presets.values()
    assert set(named.split()) == {name for args in presets for name in args.models()}


def test_the_volume_comes_before_what_reads_it(rendered: list[dict[str, Any]], importer: Any) -> None:
    """What `apply -l` takes first is the volume alone; the pod mounts it where the others will look."""
    store = [each for each in rendered if each["metadata"].get("labels") == {"app.kubernetes.io/component": "store"}]
    assert {each["kind"] for each in store} == {"StorageClass", "PersistentVolumeClaim"}
    (settings,) = (each["data"] for each in rendered if each["kind"] == "ConfigMap")
    (container,), (volume,) = importer["spec"]["containers"], importer["spec"]["volumes"]
    assert container["env"] == [{"name": "RAYSCRIBE_STORE", "value": settings["RAYSCRIBE_STORE"]}]
    assert volume["persistentVolumeClaim"]["claimName"] in {each["metadata"]["name"] for each in store}
    service = next(each["spec"]["rayClusterConfig"] for each in rendered if each["kind"] == "RayService")
    head = service["headGroupSpec"]["template"]["spec"]
    assert volume in head["volumes"]
    assert container["volumeMounts"][0] in head["containers"][0]["volumeMounts"]
