"""The overlays that are generated from configs/, and what their pods are sure to hold."""

import math
import re
import shutil
from pathlib import Path

import pytest
import yaml

from serve_app.gpu_rules import gpu_share
from serve_app.kuberay import LAYOUTS, Replica, _fullest, main, node_of, replicas_of, worker_group
from serve_app.serve_config import load_serve_config
from tests.conftest import ROOT
from tests.serve_app.kuberay_helpers import OVERLAYS, container_of, rendered, service_of


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


@pytest.mark.parametrize("name", LAYOUTS)
def test_pods_ask_for_what_their_replicas_need_and_the_page_says_so(name: str) -> None:
    config = load_serve_config(ROOT / "configs" / f"{name}.yaml")
    (row,) = re.findall(rf"^\| `{name}` \|.*", (ROOT / "docs" / "kubernetes.md").read_text(), re.MULTILINE)
    groups = service_of(rendered(name))["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    for group, made in zip(LAYOUTS[name], groups, strict=True):
        asked = made["template"]["spec"]["containers"][0]["resources"]["requests"]
        cpus, memory = node_of(config, bool(group.product), group.most, len(groups) == 1)
        assert (asked["cpu"], asked["memory"]) == (str(cpus), f"{memory}Gi")
        assert asked.get("nvidia.com/gpu") == ("1" if group.product else None)
        assert f"{cpus} CPUs" in row
        assert f"{memory} GiB" in row


def test_gateways_are_on_pods_of_their_own_and_there_are_enough() -> None:
    service = service_of(rendered("gpu"))["spec"]
    (gateway,) = yaml.safe_load(service["serveConfigV2"])["applications"][0]["deployments"]
    assert (gateway["num_replicas"], gateway["max_replicas_per_node"]) == (2, 1)
    fewest = sum(group["minReplicas"] for group in service["rayClusterConfig"]["workerGroupSpecs"])
    assert fewest > gateway["num_replicas"]  # one is left for the new one of a roll-out


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_and_pods_of_pipelines_alone_go_without_the_libraries_of_models(name: str) -> None:
    cluster = service_of(rendered(name))["spec"]["rayClusterConfig"]
    head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert "/slim:" in container_of({"spec": head})["image"]
    slim = [group["groupName"] for group in workers if "/slim:" in container_of({"spec": group})["image"]]
    assert slim == (["cpu"] if len(workers) > 1 else [])


def test_pods_that_may_be_given_a_model_have_its_libraries(tmp_path: Path) -> None:
    """One stage that asks for no GPU may be placed on a pod that has none."""
    document = yaml.safe_load((ROOT / "configs" / "gpu.yaml").read_text())
    (high,) = [app for app in document["applications"] if app["name"] == "high"]
    (alignment,) = [each for each in high["deployments"] if each["name"] == "Alignment"]
    alignment["ray_actor_options"] = {"num_cpus": 1}
    high["args"]["alignment"] |= {"device": "cpu"}
    models = (ROOT / "configs" / "models.yaml").read_text()
    for name, content in (("gpu.yaml", yaml.safe_dump(document)), ("models.yaml", models)):
        (tmp_path / name).write_text(content)
    config = load_serve_config(tmp_path / "gpu.yaml")
    pattern = yaml.safe_load((ROOT / "kuberay" / "base" / "rayservice.yaml").read_text())
    (base,) = pattern["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    made = worker_group(config, LAYOUTS["gpu"][0], alone=False, pattern=base)
    assert "/runtime-cpu:" in container_of({"spec": made})["image"]


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
    _, memory = node_of(config, has_gpu=False, pods=1, alone=True)
    assert memory == math.ceil(need * 1e9 / 2**30)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_has_no_work_and_secrets_are_in_no_overlay(name: str) -> None:
    documents = rendered(name)
    head = service_of(documents)["spec"]["rayClusterConfig"]["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0", "num-gpus": "0"}
    assert not re.search(r"AWS_(ACCESS_KEY|SECRET)|kind: Secret\b", yaml.safe_dump_all(documents))


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_head_knows_the_password_that_redis_asks_for(name: str) -> None:
    documents = rendered(name)
    options = service_of(documents)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    (server,) = (each for each in documents if each["kind"] == "StatefulSet")
    (container,) = server["spec"]["template"]["spec"]["containers"]
    (variable,) = container["env"]
    assert container["args"][-2:] == ["--requirepass", f"$({variable['name']})"]
    assert variable["name"] == "REDISCLI_AUTH"  # redis-cli's own: the probes need it
    assert variable["valueFrom"] == options["redisPassword"]["valueFrom"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "password"}}
