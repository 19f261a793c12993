"""Nodes that fetch the models ahead: the component prewarm-nodes on any overlay, and its command run for real."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store import DirectoryStore, ModelInfo, publish
from model_store.sources import DirectorySource
from serve_app.kuberay import LAYOUTS
from serve_app.kuberay_check.checks import problems_of
from serve_app.serve_config import load_serve_config
from tests.conftest import ROOT
from tests.serve_app.config_helpers import catalog
from tests.serve_app.kuberay_helpers import KUBERAY, render, service_of

COMPONENT = KUBERAY / "components" / "prewarm-nodes"
TEMPLATE: dict[str, Any] = yaml.safe_load((COMPONENT / "daemonset.yaml").read_text())["spec"]["template"]
PREPARE, FETCH = TEMPLATE["spec"]["initContainers"]
VOLUMES = {each["name"]: each for each in TEMPLATE["spec"]["volumes"]}


def with_component(folder: Path, overlay: str) -> list[dict[str, Any]]:
    """What an overlay of the copy in `folder` comes to, with the component before its other ones."""
    shutil.copytree(KUBERAY, folder / "kuberay")
    path = folder / "kuberay" / "overlays" / overlay / "kustomization.yaml"
    document = yaml.safe_load(path.read_text())
    document["components"] = ["../../components/prewarm-nodes", *document.get("components", [])]
    path.write_text(yaml.safe_dump(document))
    return render(path.parent)


def on_top_of(folder: Path, overlay: str) -> list[dict[str, Any]]:
    """What the committed overlay `prewarmed` comes to, on another one than `gpu`."""
    shutil.copytree(KUBERAY, folder / "kuberay")
    path = folder / "kuberay" / "overlays" / "prewarmed" / "kustomization.yaml"
    path.write_text(path.read_text().replace("../gpu", f"../{overlay}"))
    return render(path.parent)


def daemon_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (each for each in documents if each["kind"] == "DaemonSet")
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def groups_of(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = service_of(documents)["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("overlay", LAYOUTS)
def test_ray_pods_use_the_cache_that_the_node_has_filled(overlay: str, tmp_path: Path) -> None:
    documents = on_top_of(tmp_path, overlay)
    mounts = {each["mountPath"]: each for each in FETCH["volumeMounts"]}
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    mount = mounts[settings["RAYSCRIBE_CACHE"]]
    filled = f"{VOLUMES[mount['name']]['hostPath']['path']}/{mount['subPath']}"
    groups = groups_of(documents)
    assert len(groups) == len(LAYOUTS[overlay])
    for spec in groups:
        assert {"name": "cache", "hostPath": {"path": filled, "type": "Directory"}} in spec["volumes"]
        assert [each["name"] for each in spec["volumes"]] == ["scratch", "cache", "jobs"]
    assert not any(each["kind"] == "PodTemplate" for each in documents)
    assert [problem for each in documents for problem in problems_of(each, catalog())] == []


def test_it_fetches_what_the_configs_name_and_the_job_publishes() -> None:
    configs = (load_serve_config(ROOT / "configs" / f"{name}.yaml") for name in LAYOUTS)
    named = {model for config in configs for args in config.presets.values() for model in args.models()}
    job = yaml.safe_load((KUBERAY / "components" / "publish-models" / "job.yaml").read_text())
    assert {*FETCH["args"]} == named
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == FETCH["args"]


def test_only_who_prepares_the_directory_is_root_and_nobody_is_taken_for_a_ray_pod() -> None:
    assert TEMPLATE["metadata"]["labels"] == {"app.kubernetes.io/name": "rayscribe-prewarm"}
    assert TEMPLATE["spec"]["securityContext"]["runAsUser"] == 10001
    containers = [*TEMPLATE["spec"]["initContainers"], *TEMPLATE["spec"]["containers"]]
    assert [each["name"] for each in containers if "runAsUser" in each["securityContext"]] == ["prepare"]
    assert PREPARE["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    for each in containers:
        assert each["securityContext"]["readOnlyRootFilesystem"]
        assert not each["securityContext"]["allowPrivilegeEscalation"]


def test_a_store_on_a_volume_is_mounted_and_a_bucket_has_its_account(tmp_path: Path) -> None:
    on_nfs, on_s3 = (with_component(tmp_path / name, name) for name in ("nfs", "s3"))
    assert [problem for each in (*on_nfs, *on_s3) for problem in problems_of(each, catalog())] == []
    spec = daemon_of(on_nfs)
    assert {"name": "shared", "persistentVolumeClaim": {"claimName": "rayscribe"}} in spec["volumes"]
    assert {"name": "shared", "mountPath": "/mnt/rayscribe"} in spec["initContainers"][1]["volumeMounts"]
    assert daemon_of(on_s3)["serviceAccountName"] == "rayscribe-store"


def fetched(cache: Path, store: DirectoryStore, *names: str) -> subprocess.CompletedProcess[str]:
    """The command of the container, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "RAYSCRIBE_STORE": str(store.root), "RAYSCRIBE_CACHE": str(cache)}
    return subprocess.run([*FETCH["command"], *names], env=environment, capture_output=True, text=True, cwd=ROOT)


def test_the_command_fetches_all_and_ends_with_an_error_where_one_is_missing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.bin").write_bytes(name.encode())
        publish(DirectorySource(name, tmp_path), name, store, "v1", ModelInfo("whisper-ct2", "MIT", ("en",)))
    done = fetched(tmp_path / "cache", store, "one", "two")
    assert done.returncode == 0, done.stderr
    kept = [*(tmp_path / "cache" / "snapshots").glob("*/weights.bin")]
    assert {path.read_text() for path in kept} == {"one", "two"}
    done = fetched(tmp_path / "other", store, "one", "three", "two")
    assert done.returncode == 3
    assert "three" in done.stderr
