"""The overlays of kuberay/, rendered by kubectl's kustomize and checked as the API server and the operator would."""

import gzip
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serve_app.gpu_rules import gpu_share
from serve_app.kuberay import LAYOUTS, Group, Replica, _fullest, longest_s, main, node_of, replicas_of
from serve_app.serve_config import CATALOG, check_serve_config, load_serve_config
from tests.conftest import ROOT

KUBERAY = ROOT / "kuberay"
OVERLAYS = sorted(path.name for path in (KUBERAY / "overlays").iterdir())
SCHEMA = ROOT / "tests" / "data" / "rayservice-v1.schema.json.gz"
IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})")
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?")


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """Every overlay's documents."""
    return {name: render(KUBERAY / "overlays" / name) for name in OVERLAYS}


def render(overlay: Path) -> list[dict[str, Any]]:
    """An overlay's documents."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl, for its kustomize")
    command = ["kubectl", "kustomize", str(overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def service_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (each for each in documents if each["kind"] == "RayService")
    return found


def strict(node: Any) -> Any:
    """A CRD's schema made strict: unknown keys refused, int-or-string typed, `required` dropped where defaulted."""
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


@pytest.fixture(scope="session")
def schema() -> jsonschema.Draft202012Validator:
    document = strict(json.loads(gzip.decompress(SCHEMA.read_bytes())))
    document["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(document)


def operator_rules(service: dict[str, Any]) -> Iterator[str]:
    """What only the operator refuses."""
    name, spec = service["metadata"]["name"], service["spec"]
    cluster = spec["rayClusterConfig"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield "name"
    if spec["upgradeStrategy"]["type"] not in ("NewCluster", "NewClusterWithIncrementalUpgrade", "None"):
        yield "upgradeStrategy"
    head = cluster["headGroupSpec"]
    names = {each["name"] for each in head["template"]["spec"]["containers"][0].get("env", ())}
    if "redis-password" in head["rayStartParams"] or "REDIS_PASSWORD" in names:
        yield "redisPassword"
    for group in (head, *cluster["workerGroupSpecs"]):
        if "labels" in group["rayStartParams"]:
            yield "labels"
        if group.get("resources") and "resources" in group["rayStartParams"]:
            yield "resources twice"
        if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield "restartPolicy"
        if not group.get("minReplicas", 0) <= group.get("replicas", 0) <= group.get("maxReplicas", 0):
            yield "replicas"
    if cluster["autoscalerOptions"].get("version") != "v2" and "idleTimeoutSeconds" in str(cluster):
        yield "idleTimeoutSeconds"


def values(node: Any, key: str) -> Iterator[Any]:
    if isinstance(node, dict):
        for name, below in node.items():
            if name == key:
                yield below
            yield from values(below, key)
    elif isinstance(node, list):
        for below in node:
            yield from values(below, key)


def test_generated_files_are_what_the_configs_make() -> None:
    assert main(["--check"]) == 0


def test_a_changed_config_is_told_until_it_is_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("configs", "kuberay"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    config = tmp_path / "configs" / "cpu.yaml"
    config.write_text(config.read_text().replace("beam_size: 1", "beam_size: 2"))
    assert main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    assert "overlays/cpu/generated.yaml: differs from configs/cpu.yaml; run `make kuberay`" in told
    assert len(told.splitlines()) == 1
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_is_what_the_operator_takes(
    rendered: dict[str, list[dict[str, Any]]], schema: jsonschema.Draft202012Validator, name: str
) -> None:
    service = service_of(rendered[name])
    assert [f"{error.json_path}: {error.message}" for error in schema.iter_errors(service)] == []
    assert list(operator_rules(service)) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlays_config_is_checked_strictly_and_drains_in_time(
    rendered: dict[str, list[dict[str, Any]]], name: str
) -> None:
    from model_store import Catalog

    spec = service_of(rendered[name])["spec"]
    config = check_serve_config(spec["serveConfigV2"], name, Catalog.load(ROOT / "configs" / CATALOG))
    assert "proxy_location: EveryNode" in spec["serveConfigV2"]
    assert spec["rayClusterDeletionDelaySeconds"] >= longest_s(config)
    for group in spec["rayClusterConfig"]["workerGroupSpecs"]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= longest_s(config)


@pytest.mark.parametrize("name", OVERLAYS)
def test_images_are_pinned_and_quantities_are_some(rendered: dict[str, list[dict[str, Any]]], name: str) -> None:
    images = list(values(rendered[name], "image"))
    assert images
    assert [image for image in images if not IMAGE.fullmatch(image)] == []
    for kind in ("requests", "limits"):
        for given in values(rendered[name], kind):
            assert all(QUANTITY.fullmatch(str(value)) for value in given.values()), given


def test_an_image_without_a_tag_or_with_latest_is_none() -> None:
    for image in ("registry.example.org/a", "registry.example.org/a:latest", "redis:7"):
        assert not IMAGE.fullmatch(image)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("spec", "serveConfigV3"), "", "serveConfigV3"),
        (("spec", "rayClusterConfig", "workerGroupSpecs", 0, "minReplica"), 1, "minReplica"),
        (("spec", "rayClusterConfig", "workerGroupSpecs", 0, "maxReplicas"), "5", "'5'"),
        (("spec", "rayClusterConfig", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "0 is not of type"),
        (("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "containers", 0, "imagee"), "x", "imagee"),
    ],
)
def test_a_slip_is_found(
    rendered: dict[str, list[dict[str, Any]]],
    schema: jsonschema.Draft202012Validator,
    path: tuple[Any, ...],
    value: Any,
    told: str,
) -> None:
    service = json.loads(json.dumps(service_of(rendered["gpu"])))
    below = service
    for step in path[:-1]:
        below = below[step]
    below[path[-1]] = value
    (error,) = schema.iter_errors(service)
    assert told in error.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda service: service["metadata"].update(name="x" * 48), "name"),
        (lambda service: service["spec"]["upgradeStrategy"].update(type="Rolling"), "upgradeStrategy"),
        (lambda service: _head(service)["rayStartParams"].update(labels="a=b"), "labels"),
        (lambda service: _head(service)["template"]["spec"].update(restartPolicy="Always"), "restartPolicy"),
        (lambda service: _head(service)["rayStartParams"].update({"redis-password": "x"}), "redisPassword"),
        (lambda service: service["spec"]["rayClusterConfig"]["autoscalerOptions"].pop("version"), "idleTimeoutSeconds"),
    ],
)
def test_a_rule_of_the_operator_is_kept(rendered: dict[str, list[dict[str, Any]]], change: Any, told: str) -> None:
    service = json.loads(json.dumps(service_of(rendered["gpu"])))
    change(service)
    assert list(operator_rules(service)) == [told]


def _head(service: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_pods_hold_what_the_manifests_say(rendered: dict[str, list[dict[str, Any]]], name: str) -> None:
    config = load_serve_config(ROOT / "configs" / f"{name}.yaml")
    groups = service_of(rendered[name])["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    for group, made in zip(LAYOUTS[name], groups, strict=True):
        asked = made["template"]["spec"]["containers"][0]["resources"]["requests"]
        cpus, memory = node_of(config, group)
        assert (asked["cpu"], asked["memory"]) == (str(cpus), f"{memory}Gi")
        assert asked.get("nvidia.com/gpu") == ("1" if group.product else None)
    found = list(replicas_of(config))
    awake = sum(each.cpus * each.fewest for each in found)
    assert awake <= sum(node_of(config, group)[0] * group.fewest for group in LAYOUTS[name])


def test_replicas_are_all_deployments_with_their_shares() -> None:
    config = load_serve_config(ROOT / "configs" / "gpu.yaml")
    shares = sorted(each.gpus for each in replicas_of(config) if each.gpus)
    stated = [gpu_share(each) for app in config.apps.all for each in app.deployments]
    assert shares == sorted(share for share in stated if share)


def test_the_fullest_gpu_is_bounded_by_its_shares() -> None:
    small, large = Replica(1, 0.25, 2.0, 0, 2), Replica(1, 0.5, 3.0, 1, 8)
    assert _fullest([small, large], "memory_gb") == pytest.approx(2 * 2.0 + 3.0)
    assert _fullest([large], "cpus") == pytest.approx(2.0)
    assert _fullest([Replica(4, 0, 9.0, 1, 1)], "memory_gb") == 0


def test_memory_is_given_in_binary_units() -> None:
    config = load_serve_config(ROOT / "configs" / "cpu.yaml")
    need = sum(each.memory_gb * each.most for each in replicas_of(config)) + 3.0
    _, memory = node_of(config, Group("cpu", "cpu", None, 1, 1))
    assert memory == math.ceil(need * 1e9 / 2**30)


def test_the_head_has_no_work_and_secrets_are_in_no_overlay(rendered: dict[str, list[dict[str, Any]]]) -> None:
    for documents in rendered.values():
        assert _head(service_of(documents))["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
        assert not re.search(r"AWS_(ACCESS_KEY|SECRET)|kind: Secret\b", yaml.safe_dump_all(documents))


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_knows_the_password_that_redis_asks_for(rendered: dict[str, list[dict[str, Any]]], name: str) -> None:
    options = service_of(rendered[name])["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    (server,) = (each for each in rendered[name] if each["kind"] == "StatefulSet")
    (container,) = server["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    assert container["args"][-2:] == ["--requirepass", f"$({variable['name']})"]
    assert variable["name"] == "REDISCLI_AUTH"  # redis-cli's own: the probes need it
    assert variable["valueFrom"] == options["redisPassword"]["valueFrom"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "password"}}
