"""What schemas leave open in a manifest: each rule finds the slip that it is for, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from serve_app.kuberay_check.checks import problems_of
from serve_app.kuberay_check.manifests import Manifest
from serve_app.kuberay_check.pod_rules import IMAGE, programs, quantity
from serve_app.yaml_source import Place, Problem
from tests.serve_app.config_helpers import catalog
from tests.serve_app.kuberay_helpers import container_of, head_of, rendered, service_of, worker_of

Change = Callable[[Manifest], Any]


def service() -> Manifest:
    return service_of(rendered("gpu"))


def redis() -> Manifest:
    (found,) = (each for each in rendered("gpu") if each["kind"] == "StatefulSet")
    return found


def dotted(place: Place) -> str:
    return ".".join(map(str, place))


def edit(service: Manifest, right: str, wrong: str) -> None:
    """Change the Serve config."""
    text = service["spec"]["serveConfigV2"]
    assert right in text
    service["spec"]["serveConfigV2"] = text.replace(right, wrong, 1)


def ask(service: Manifest, index: int, **requests: str) -> None:
    """Change what a worker group requests, and its limits."""
    for given in container_of(worker_of(service, index))["resources"].values():
        given.update(requests)


def limit(manifest: Manifest, **limits: str) -> None:
    container_of(manifest)["resources"]["limits"].update(limits)


def problems_after(manifest: Manifest, change: Change) -> list[Problem]:
    assert problems_of(manifest, catalog()) == []
    change(manifest)
    return problems_of(manifest, catalog())


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda service: service["metadata"].update(name="x" * 48), "metadata.name"),
        (lambda service: service["spec"]["upgradeStrategy"].update(type="Rolling"), "upgradeStrategy.type"),
        (
            lambda service: head_of(service)["rayStartParams"].update(labels="a=b"),
            "headGroupSpec.rayStartParams.labels",
        ),
        (lambda service: head_of(service)["rayStartParams"].update({"redis-password": "x"}), "headGroupSpec"),
        (lambda service: container_of(head_of(service)).update(env=[{"name": "REDIS_PASSWORD"}]), "headGroupSpec"),
        (lambda service: head_of(service)["template"]["spec"].update(restartPolicy="Always"), "spec.restartPolicy"),
        (lambda service: service["spec"]["rayClusterConfig"]["autoscalerOptions"].pop("version"), "autoscalerOptions"),
        (lambda service: worker_of(service, 0).update(replicas=5), "workerGroupSpecs.0"),
        (
            lambda service: worker_of(service, 0).update(resources={"CPU": "1"}, rayStartParams={"resources": "{}"}),
            "workerGroupSpecs.0.resources",
        ),
    ],
)
def test_a_rule_of_the_operator_is_kept(change: Change, place: str) -> None:
    (problem,) = problems_after(service(), change)
    assert dotted(problem.place).endswith(place)


def test_times_below_the_longest_work_are_told() -> None:
    def change(service: Manifest) -> None:
        service["spec"]["rayClusterDeletionDelaySeconds"] = 14999
        del worker_of(service, 2)["template"]["spec"]["terminationGracePeriodSeconds"]

    delay, grace = problems_after(service(), change)
    assert dotted(delay.place) == "spec.rayClusterDeletionDelaySeconds"
    assert delay.message == "must be 15000, for the longest work, or more; it is 14999"
    assert dotted(grace.place).endswith("workerGroupSpecs.2.template.spec.terminationGracePeriodSeconds")
    assert grace.message.endswith("it is 30")


def test_the_embedded_config_is_checked_strictly_and_each_node_has_a_proxy() -> None:
    (problem,) = problems_after(service(), lambda service: edit(service, "num_replicas: 2", "num_replica: 2"))
    assert "num_replica: unknown key; did you mean 'num_replicas'?" in problem.message
    (problem,) = problems_after(service(), lambda service: edit(service, "EveryNode", "HeadOnly"))
    assert "proxy_location: EveryNode" in problem.message


def test_a_pod_that_has_not_the_cpus_of_what_it_may_hold_is_told() -> None:
    (problem,) = problems_after(service(), lambda service: ask(service, 1, cpu="11"))
    assert problem.message == "must request 12 CPUs and 18Gi or more, for its replicas"


def test_what_no_pod_holds_is_told() -> None:
    def change(service: Manifest) -> None:
        edit(service, "num_cpus: 2", "num_cpus: 99")
        for index, group in enumerate(service["spec"]["rayClusterConfig"]["workerGroupSpecs"]):
            group.update(minReplicas=4, replicas=4)
            ask(service, index, cpu="98")

    found = [problem.message for problem in problems_after(service(), change)]
    assert "no pod holds a replica of 99 CPUs, 0.4 GPUs, 1.034 GB" in found


def test_what_the_fewest_pods_do_not_hold_is_told() -> None:
    (problem,) = problems_after(service(), lambda service: worker_of(service, 1).update(minReplicas=1))
    assert problem.message == "the fewest replicas need 1.55 GPUs; the fewest pods have 1"


def test_more_than_the_limit_is_told_and_what_is_no_quantity() -> None:
    (problem,) = problems_after(redis(), lambda redis: limit(redis, memory="255Mi"))
    assert dotted(problem.place).endswith("resources.requests.memory")
    assert problem.message == "256Mi is more than its limit, 255Mi"
    (problem,) = problems_after(redis(), lambda redis: limit(redis, cpu="1 core"))
    assert problem.message == "'1 core' is no quantity, such as 500m, 2 or 4Gi"


@pytest.mark.parametrize(
    ("text", "value"), [("500m", 0.5), ("2", 2), (2, 2), ("1.5Gi", 1.5 * 2**30), ("3k", 3000), ("1Ti", 2**40)]
)
def test_a_quantity_is_a_number(text: object, value: float) -> None:
    assert float(quantity(text) or 0) == value


@pytest.mark.parametrize("text", ["", "5GB", "Gi", "-1", "1.", "1,5", None, True])
def test_what_is_no_quantity_is_none(text: object) -> None:
    assert quantity(text) is None


def test_an_image_has_its_registry_and_is_pinned() -> None:
    for image in ("registry.example.org/a", "registry.example.org/a:latest", "redis:7", "", "localhost:5000/a"):
        assert not IMAGE.fullmatch(image)
    for image in ("registry.example.org:5000/a/b:0.1.0", f"localhost:5000/a@sha256:{'0' * 64}"):
        assert IMAGE.fullmatch(image)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["bash", "-c", "wget -q -O- http://localhost:8000/-/healthz 2>&1 | grep success"], None),
        (["bash", "-c", "wget -q -O- http://localhost:8000/ready && (curl -f localhost || grep x)"], "curl"),
        (["nc", "-z", "localhost", "8000"], "nc"),
        (["redis-cli", "ping"], "redis-cli"),
    ],
)
def test_probes_start_what_our_images_have(command: list[str], told: str | None) -> None:
    probe = {"livenessProbe": {"exec": {"command": command}}}
    found = problems_after(service(), lambda service: container_of(worker_of(service, 0)).update(probe))
    place = ("spec", "rayClusterConfig", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "livenessProbe")
    message = f"starts {told}; the image has bash, grep, wget"
    assert found == ([Problem(place, message)] if told else [])


def test_a_script_names_its_programs() -> None:
    assert programs(["sleep", "5"]) == ["sleep"]
    assert programs(["bash", "-c", "a 1; b 2>&1 |c\nd&& (e || f)"]) == ["bash", "a", "b", "c", "d", "e", "f"]
    assert programs([]) == []
