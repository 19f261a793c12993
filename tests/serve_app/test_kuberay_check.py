"""The manifests of kuberay/ pass every check; what is wrong with a file or an overlay is told, a line for each."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.kuberay_check.__main__ import main
from serve_app.kuberay_check.manifests import Manifest, can_render
from serve_app.kuberay_check.schemas import schema_problems
from tests.conftest import ROOT
from tests.serve_app.kuberay_helpers import container_of, head_of, rendered, service_of, worker_of

needs_kubectl = pytest.mark.skipif(not can_render(), reason="needs kubectl, for its kustomize")
Change = Callable[[Manifest], Any]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout's configs and manifests, for the test to change."""
    for folder in ("configs", "kuberay"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def keep(checkout: Path, *overlays: str) -> None:
    for path in (checkout / "kuberay" / "overlays").iterdir():
        if path.name not in overlays:
            shutil.rmtree(path)


def exchange(path: Path, right: str, wrong: str) -> None:
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong, 1))


def test_what_we_ship_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert capsys.readouterr().out == "kuberay: ok\n"


@pytest.mark.parametrize(
    ("file", "right", "wrong", "told"),
    [
        (
            "base/redis.yaml",
            "replicas: 1",
            "replica: 1",
            "StatefulSet/redis spec: Additional properties are not allowed ('replica' was unexpected) (Kubernetes 1.",
        ),
        (
            "base/redis.yaml",
            "memory: 512Mi",
            "memory: 512MB",
            "StatefulSet/redis spec.template.spec.containers[redis].resources.limits.memory: "
            "'512MB' is no quantity, such as 500m, 2 or 4Gi",
        ),
        (
            "overlays/airgapped/import.yaml",
            "slim:0.1.0",
            "slim:latest",
            "Pod/rayscribe-import spec.containers[store].image: 'registry.internal/rayscribe/slim:latest' "
            "must have its registry, and a tag (not latest) or a digest",
        ),
        (
            "base/monitors.yaml",
            "interval: 15s",
            "intervall: 15s",
            "ServiceMonitor/rayscribe-head spec.endpoints[0]: "
            "Additional properties are not allowed ('intervall' was unexpected)",
        ),
        (
            "base/disruption.yaml",
            "policy/v1",
            "policy/v2",
            "PodDisruptionBudget/rayscribe-workers: Couldn't find schema for kind PodDisruptionBudget with api version "
            "policy/v2 for kubernetes version 1.30",
        ),
        ("base/settings.yaml", "kind: ConfigMap\n", "", "None/rayscribe: has no kind or no apiVersion"),
        ("base/settings.yaml", "  name: rayscribe", "  name: [", "not YAML: expected ',' or ']', but got ':'"),
    ],
)
def test_a_slip_in_a_file_is_told_once(
    copy: Path, capsys: pytest.CaptureFixture[str], file: str, right: str, wrong: str, told: str
) -> None:
    exchange(copy / "kuberay" / file, right, wrong)
    assert main(copy) == 1
    (line,) = capsys.readouterr().err.splitlines()[0 if can_render() else 1 :]
    assert line.startswith(f"kuberay/{file}: {told}")


@needs_kubectl
def test_too_small_a_pod_of_an_overlay_is_told(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(copy, "gpu", "s3")
    path = copy / "kuberay" / "overlays" / "s3" / "kustomization.yaml"
    asked = "/spec/rayClusterConfig/workerGroupSpecs/1/template/spec/containers/0/resources/requests"
    patch = [{"op": "replace", "path": f"{asked}/memory", "value": "17Gi"}]
    document = yaml.safe_load(path.read_text())
    document["patches"].append({"target": {"kind": "RayService"}, "patch": yaml.safe_dump(patch)})
    path.write_text(yaml.safe_dump(document))
    assert main(copy) == 1
    assert capsys.readouterr().err == (
        "kuberay/overlays/s3: RayService/rayscribe spec.rayClusterConfig.workerGroupSpecs[1].template.spec"
        ".containers[ray-worker].resources: must request 12 CPUs and 18Gi or more, for its replicas\n"
    )


@needs_kubectl
def test_an_overlay_that_is_refused_is_told(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(copy, "cpu")
    exchange(copy / "kuberay" / "overlays" / "cpu" / "kustomization.yaml", "../../base", "missing")
    assert main(copy) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kuberay/overlays/cpu: cannot be rendered: ")
    assert "missing" in line


def test_without_kubectl_the_files_are_checked_and_the_rest_is_said_to_be_left(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(copy))
    assert main(copy) == 0
    assert capsys.readouterr().err == "kuberay/overlays: not checked: that needs kubectl, for its kustomize\n"
    exchange(copy / "kuberay" / "base" / "redis.yaml", "replicas: 1", "replicas: one")
    assert main(copy) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda service: service["spec"].update(serveConfigV3=""), "'serveConfigV3' was unexpected"),
        (lambda service: service["metadata"].update(label={}), "'label' was unexpected"),
        (lambda service: worker_of(service, 0).update(minReplica=1), "'minReplica' was unexpected"),
        (lambda service: worker_of(service, 0).update(maxReplicas="5"), "'5' is not of type 'integer'"),
        (lambda service: head_of(service)["rayStartParams"].update({"num-cpus": 0}), "0 is not of type 'string'"),
        (lambda service: container_of(head_of(service)).update(imagee="x"), "'imagee' was unexpected"),
    ],
)
def test_a_slip_in_a_ray_service_is_found(change: Change, told: str) -> None:
    changed = service_of(rendered("gpu"))
    change(changed)
    (problem,) = schema_problems(changed)
    assert told in problem.message
