"""What only KubeRay's operator refuses of a RayService."""

import re
from collections.abc import Iterator
from typing import Any

from serve_app.kuberay_check.manifests import Manifest
from serve_app.yaml_source import Place, Problem

CLUSTER: Place = ("spec", "rayClusterConfig")
HEAD: Place = (*CLUSTER, "headGroupSpec")
GROUPS: Place = (*CLUSTER, "workerGroupSpecs")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
STRATEGIES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")


def operator_problems(service: Manifest) -> Iterator[Problem]:
    """Yield what the operator would refuse of a RayService that fits its schema."""
    cluster = service["spec"]["rayClusterConfig"]
    if not NAME.fullmatch(service["metadata"]["name"]):
        yield Problem(("metadata", "name"), "must be a DNS label of 47 characters at most")
    strategy = service["spec"].get("upgradeStrategy", {}).get("type", STRATEGIES[0])
    if strategy not in STRATEGIES:
        yield Problem(("spec", "upgradeStrategy", "type"), f"'{strategy}' must be one of {', '.join(STRATEGIES)}")
    if cluster.get("autoscalerOptions", {}).get("version") != "v2" and "idleTimeoutSeconds" in str(cluster):
        yield Problem((*CLUSTER, "autoscalerOptions"), "idleTimeoutSeconds needs version: v2")
    yield from _head_problems(cluster["headGroupSpec"])
    for index, group in enumerate(cluster["workerGroupSpecs"]):
        yield from _group_problems((*GROUPS, index), group)
        counts = [group.get(key, 0) for key in ("minReplicas", "replicas", "maxReplicas")]
        if counts != sorted(counts):
            yield Problem((*GROUPS, index), "minReplicas <= replicas <= maxReplicas must hold")


def _head_problems(head: dict[str, Any]) -> Iterator[Problem]:
    variables = {each["name"] for each in head["template"]["spec"]["containers"][0].get("env", ())}
    if "redis-password" in head["rayStartParams"] or "REDIS_PASSWORD" in variables:
        yield Problem(HEAD, "the password of Redis must be given in gcsFaultToleranceOptions alone")
    yield from _group_problems(HEAD, head)


def _group_problems(place: Place, group: dict[str, Any]) -> Iterator[Problem]:
    if "labels" in group["rayStartParams"]:
        yield Problem((*place, "rayStartParams", "labels"), "must be given as the group's labels")
    if group.get("resources") and "resources" in group["rayStartParams"]:
        yield Problem((*place, "resources"), "are given in rayStartParams, too")
    if group["template"]["spec"].get("restartPolicy", "Never") != "Never":
        yield Problem((*place, "template", "spec", "restartPolicy"), "must be Never, for the autoscaler v2")
