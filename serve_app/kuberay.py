"""The Serve configs of configs/ as KubeRay overlays: `python -m serve_app.kuberay` writes each generated.yaml.

Each is a list of JSON patches on kuberay/base: the config as serveConfigV2, the worker groups with what their nodes
must hold, and times above the longest work. `--check` writes nothing and exits with 1 where a file differs.
"""

import argparse
import copy
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_store.publishing.catalog import Catalog
from serve_app.config_rules import STAGES, deployments_of
from serve_app.draining import longest_work_s
from serve_app.gpu_rules import gpu_share, replicas
from serve_app.memory_need import need_of
from serve_app.models.devices import CUDA_GB
from serve_app.serve_config import CheckedConfig, load_serve_config

ROOT = Path(__file__).parents[1]
HEADER = "# Written by `make kuberay` from configs/{name}.yaml; change that, or serve_app/kuberay.py.\n"
SERVE_GB = 3.0
"""Ray's own processes and Serve's proxy on a node: as configs/cpu.yaml says."""
REPLICA_GB = 1.0
"""An estimate: a replica's Python with torch, and the CUDA runtime's host side; a pipeline's audio under way."""
DRAIN_MARGIN_S = 600
"""Beyond the longest work: for Serve to notice, and the pod to stop."""
IMAGES = {
    "slim": "registry.example.org/rayscribe/slim:0.1.0",
    "cpu": "registry.example.org/rayscribe/runtime-cpu:0.1.0",
    "cuda": "registry.example.org/rayscribe/runtime-cuda:0.1.0",
}
GROUPS = "/spec/rayClusterConfig/workerGroupSpecs"


@dataclass(frozen=True, slots=True)
class Replica:
    """What one replica reserves and takes of its node's memory, and how many there are at least and at most."""

    cpus: float
    gpus: float
    memory_gb: float
    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class Group:
    """A worker group: its image, the GPU product its nodes have (None: no GPU), and how many pods there are."""

    name: str
    image: str
    product: str | None
    fewest: int
    most: int


LAYOUTS: dict[str, tuple[Group, ...]] = {
    "cpu": (Group("cpu", "cpu", None, 1, 1),),
    "single-gpu": (Group("gpu", "cuda", "NVIDIA-L4", 1, 1),),
    "gpu": (
        Group("cpu", "cpu", None, 1, 4),
        Group("gpu-l4", "cuda", "NVIDIA-L4", 2, 8),
        Group("gpu-a10g", "cuda", "NVIDIA-A10G", 0, 8),
    ),
}
"""The worker groups of each config in configs/."""


def replicas_of(config: CheckedConfig) -> Iterator[Replica]:
    """Return every deployment of a config; one that states no CPUs reserves one, as Ray Serve has it."""
    for app in config.apps.all:
        if app.args is None:
            continue
        stages = {STAGES[stage]: args for stage, args in app.stages()}
        for name in deployments_of(app.args):
            _, deployment = app.deployment(name)
            options = getattr(deployment, "ray_actor_options", None)
            cpus = getattr(options, "num_cpus", None)
            fewest, most = replicas(deployment) if deployment is not None else (1, 1)
            gpus = gpu_share(deployment)
            memory = REPLICA_GB + _model_gb(stages.get(name), config.catalog, on_gpu=bool(gpus))
            yield Replica(1.0 if cpus is None else cpus, gpus, memory, fewest, most)


def _model_gb(args: Any, catalog: Catalog | None, on_gpu: bool) -> float:
    """Return what a model takes of the node's memory: on a GPU its weights as they load, on a CPU all of its need."""
    need = need_of(args, catalog) if args is not None and catalog else None
    if need is None:
        return 0.0
    return need.weights if on_gpu else need.total - CUDA_GB


def node_of(config: CheckedConfig, has_gpu: bool, pods: int, alone: bool) -> tuple[int, int]:
    """Return the CPUs and the GiB that each of a group's pods must have, of which there are `pods` at most.

    One pod holds all replicas of a config of one group; with more groups, a GPU's pod holds the costliest mix of shares
    that fits one GPU, and the pods without a GPU share the rest.
    """
    found = list(replicas_of(config))
    if alone:
        cpus, memory = (sum(getattr(each, key) * each.most for each in found) for key in ("cpus", "memory_gb"))
    elif has_gpu:
        cpus, memory = (_fullest(found, key) for key in ("cpus", "memory_gb"))
    else:
        plain = [each for each in found if not each.gpus]
        cpus, memory = (sum(getattr(each, key) * each.most for each in plain) / pods for key in ("cpus", "memory_gb"))
    return math.ceil(cpus), math.ceil((memory + SERVE_GB) * 1e9 / 2**30)


def _fullest(found: Sequence[Replica], key: str) -> float:
    """Return the most of `cpus` or `memory_gb` that replicas on one GPU can come to: a bound, as shares may be cut."""
    left, total = 1.0, 0.0
    for each in sorted((one for one in found if one.gpus), key=lambda one: -getattr(one, key) / one.gpus):
        taken = min(left, each.gpus * each.most)
        total += taken / each.gpus * getattr(each, key)
        left -= taken
    return total


def longest_s(config: CheckedConfig) -> int:
    """Return the seconds that a pod told to stop must be left: its longest work, and a margin."""
    longest = max(
        _patience_s(app.deployment(name)[1]) or longest_work_s(name, app.args)
        for app in config.apps.all
        if app.args is not None
        for name in deployments_of(app.args)
    )
    return math.ceil(longest) + DRAIN_MARGIN_S


def _patience_s(deployment: Any) -> float | None:
    """Return the stated `graceful_shutdown_timeout_s`; Ray has a value of its own for what is not stated."""
    stated = getattr(deployment, "graceful_shutdown_timeout_s", None)
    return float(stated) if isinstance(stated, int | float) else None


def worker_group(config: CheckedConfig, group: Group, alone: bool, pattern: dict[str, Any]) -> dict[str, Any]:
    """Return the group's entry of workerGroupSpecs, made from the base's; `alone` where there is no other group."""
    made = copy.deepcopy(pattern)
    made |= {"groupName": group.name, "minReplicas": group.fewest, "replicas": group.fewest, "maxReplicas": group.most}
    spec = made["template"]["spec"]
    spec["terminationGracePeriodSeconds"] = longest_s(config)
    (container,) = spec["containers"]
    cpus, memory = node_of(config, bool(group.product), group.most, alone)
    resources: dict[str, Any] = {"cpu": str(cpus), "memory": f"{memory}Gi"}
    if group.product:
        resources["nvidia.com/gpu"] = "1"
        spec["nodeSelector"] = {"nvidia.com/gpu.product": group.product}
        spec["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    container["image"] = IMAGES[_image(group, config, alone)]
    container["resources"] = {"requests": resources, "limits": dict(resources)}
    return made


def _image(group: Group, config: CheckedConfig, alone: bool) -> str:
    """Return the image of a group's pods: slim where every model is on another group's GPUs, as pipelines need none."""
    if group.product or alone:
        return group.image
    on_cpu = [
        name
        for app in config.apps.all
        for name in (deployments_of(app.args) if app.args else ())
        if name in STAGES.values() and not gpu_share(app.deployment(name)[1])
    ]
    return group.image if on_cpu else "slim"


def serve_config(config: CheckedConfig) -> dict[str, Any]:
    """Return the document for serveConfigV2: every worker has a proxy, as the head is behind no service.

    Where a deployment has several replicas from the start, no pod that is lost takes more than one of them along.
    """
    document: dict[str, Any] = copy.deepcopy(config.document)
    for app in document["applications"]:
        for deployment in app.get("deployments", ()):
            if deployment.get("num_replicas", 1) not in (1, "auto"):
                deployment.setdefault("max_replicas_per_node", 1)
    return document | {"proxy_location": "EveryNode"}


def patches(name: str, root: Path = ROOT) -> list[dict[str, Any]]:
    """Return the JSON patches that make the base an overlay of configs/NAME.yaml. Raises ConfigError."""
    config = load_serve_config(root / "configs" / f"{name}.yaml")
    base = yaml.safe_load((root / "kuberay" / "base" / "rayservice.yaml").read_text("utf-8"))
    pattern = base["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]
    alone = len(LAYOUTS[name]) == 1
    groups = [worker_group(config, group, alone, pattern) for group in LAYOUTS[name]]
    return [
        {"op": "replace", "path": "/spec/serveConfigV2", "value": text_of(serve_config(config))},
        {"op": "replace", "path": "/spec/rayClusterDeletionDelaySeconds", "value": longest_s(config)},
        {"op": "replace", "path": GROUPS, "value": groups},
    ]


class _Dumper(yaml.SafeDumper):
    """Writes neither anchors, which not every reader knows, nor long texts on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _as_block)


def text_of(value: Any) -> str:
    """Return a value as YAML that every reader knows: no anchors, long texts as blocks."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True))


def generated(name: str, root: Path = ROOT) -> str:
    """Return the text of an overlay's generated.yaml."""
    return HEADER.format(name=name) + text_of(patches(name, root))


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write the files, or with --check compare them; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.kuberay", description="Write KubeRay overlays.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file differs")
    check, status = parser.parse_args(arguments).check, 0
    for name in LAYOUTS:
        path = root / "kuberay" / "overlays" / name / "generated.yaml"
        if not check:
            path.write_text(generated(name, root), "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != generated(name, root):
            print(f"{path}: differs from configs/{name}.yaml; run `make kuberay`", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
