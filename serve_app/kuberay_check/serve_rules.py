"""A RayService's Serve config, and whether its cluster has the time and the room for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from model_store.publishing.catalog import Catalog
from serve_app.kuberay import SERVE_GB, longest_s, node_of, replicas_of
from serve_app.kuberay_check.manifests import Manifest
from serve_app.kuberay_check.operator_rules import GROUPS
from serve_app.kuberay_check.pod_rules import quantity
from serve_app.serve_config import CheckedConfig, ConfigError, check_serve_config
from serve_app.yaml_source import Place, Problem

DELETION_DELAY_S, GRACE_S = 60, 30
"""What KubeRay and Kubernetes take where a manifest says nothing."""
_checked = cache(check_serve_config)  # many overlays have the same config
UNITS = {"cpus": "CPUs", "gpus": "GPUs", "memory_gb": "GB"}


@dataclass(frozen=True, slots=True)
class Pod:
    """What each pod of a worker group has for replicas, and how many pods there are at least and at most."""

    cpus: float
    gpus: float
    memory_gb: float
    fewest: int
    most: int

    @classmethod
    def of(cls, group: dict[str, Any]) -> "Pod":
        """Return a worker group's, by what its first container, which is Ray's, is sure to get."""
        resources = group["template"]["spec"]["containers"][0].get("resources", {})
        given = resources.get("limits", {}) | resources.get("requests", {})
        cpus, gpus, memory = (float(quantity(given.get(key, 0)) or 0) for key in ("cpu", "nvidia.com/gpu", "memory"))
        return cls(cpus, gpus, memory / 1e9 - SERVE_GB, group.get("minReplicas", 0), group.get("maxReplicas", 0))


def serve_problems(service: Manifest, catalog: Catalog) -> Iterator[Problem]:
    """Yield what is wrong with the Serve config, or with the times and the pods that it is given."""
    spec = service["spec"]
    try:
        config = _checked(spec.get("serveConfigV2", ""), "serveConfigV2", catalog)
    except ConfigError as error:
        yield from (Problem(("spec",), line) for line in error.lines)
        return
    if config.document.get("proxy_location") != "EveryNode":
        yield Problem(("spec", "serveConfigV2"), "needs proxy_location: EveryNode, as the head is behind no service")
    groups = spec["rayClusterConfig"]["workerGroupSpecs"]
    yield from _time_problems(spec.get("rayClusterDeletionDelaySeconds", DELETION_DELAY_S), groups, longest_s(config))
    yield from _small_pods(groups, config)
    yield from _homeless(groups, config)


def _time_problems(delay: int, groups: Sequence[dict[str, Any]], longest: int) -> Iterator[Problem]:
    given: dict[Place, int] = {("spec", "rayClusterDeletionDelaySeconds"): delay}
    for index, group in enumerate(groups):
        place = (*GROUPS, index, "template", "spec", "terminationGracePeriodSeconds")
        given[place] = group["template"]["spec"].get("terminationGracePeriodSeconds", GRACE_S)
    for place, seconds in given.items():
        if seconds < longest:
            yield Problem(place, f"must be {longest}, for the longest work, or more; it is {seconds}")


def _small_pods(groups: Sequence[dict[str, Any]], config: CheckedConfig) -> Iterator[Problem]:
    """Yield the pods that what Ray may put on them does not fit: Ray counts CPUs and GPUs, but no memory."""
    for index, pod in enumerate(map(Pod.of, groups)):
        cpus, memory = node_of(config, bool(pod.gpus), max(pod.most, 1), len(groups) == 1)
        if pod.cpus < cpus or (pod.memory_gb + SERVE_GB) * 1e9 < memory * 2**30:
            place = (*GROUPS, index, "template", "spec", "containers", 0, "resources")
            yield Problem(place, f"must request {cpus} CPUs and {memory}Gi or more, for its replicas")


def _homeless(groups: Sequence[dict[str, Any]], config: CheckedConfig) -> Iterator[Problem]:
    """Yield what no pod has room for, and what the fewest pods have not."""
    pods, replicas = [Pod.of(group) for group in groups], list(replicas_of(config))
    for replica in dict.fromkeys(replicas):
        if not any(all(getattr(pod, key) >= getattr(replica, key) for key in UNITS) for pod in pods):
            needs = ", ".join(f"{getattr(replica, key):g} {unit}" for key, unit in UNITS.items())
            yield Problem(GROUPS, f"no pod holds a replica of {needs}")
    for key, unit in UNITS.items():
        need, room = (sum(getattr(each, key) * each.fewest for each in some) for some in (replicas, pods))
        if need > room:
            yield Problem(GROUPS, f"the fewest replicas need {need:g} {unit}; the fewest pods have {room:g}")
