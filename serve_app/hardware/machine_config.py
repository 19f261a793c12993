"""A Serve config for a machine: that of `configs/` which is nearest, with the plan's presets and figures."""

import copy
from pathlib import Path
from typing import Any

from serve_app.config_rules import STAGES
from serve_app.hardware.machine import Machine
from serve_app.hardware.plan import INGRESS_CPUS, Plan, Stage
from serve_app.hardware.recommend import recommend, usable
from serve_app.kuberay import text_of
from serve_app.serve_config import CheckedConfig, load_serve_config

CONFIGS = Path(__file__).parents[2] / "configs"
BY_WINDOWS = {"target_ongoing_requests": 24, "upscale_delay_s": 10, "downscale_delay_s": 300}
"""Counted in windows, as in configs/gpu.yaml."""
BY_BLOCKS = {**BY_WINDOWS, "target_ongoing_requests": 3}
ASLEEP = {"min_replicas": 0, "max_replicas": 1, "downscale_to_zero_delay_s": 600}


def base_for(machine: Machine, *, demo: bool = False, configs: Path = CONFIGS) -> CheckedConfig:
    """Return the config to start from: of the demo models, or of real ones for a GPU or for CPUs."""
    name = "local" if demo else "single-gpu" if usable(machine).gpus else "cpu"
    return load_serve_config(configs / f"{name}.yaml")


def config_for(machine: Machine, base: CheckedConfig) -> str:
    """Return the text of a Serve config; raises TooSmall."""
    plan = recommend(machine, base)
    heading = [f"For {machine}: written by `rayscribe config --for-this-machine`.", *str(plan).split("; ")]
    return "".join(f"# {line}\n" for line in heading) + text_of(_document(plan, base))


def _document(plan: Plan, base: CheckedConfig) -> dict[str, Any]:
    document = copy.deepcopy(base.document)
    apps = [_gateway(app, plan) if "presets" in app["args"] else _preset(app, plan) for app in document["applications"]]
    return document | {"applications": [app for app in apps if app]}


def _gateway(app: dict[str, Any], plan: Plan) -> dict[str, Any]:
    args, names = app["args"], list(plan.offered)
    args["presets"] = names
    args["aliases"] = {alias: name if name in names else names[-1] for alias, name in args["aliases"].items()}
    return app | {"deployments": [_deployment("Gateway", INGRESS_CPUS)]}


def _preset(app: dict[str, Any], plan: Plan) -> dict[str, Any] | None:
    args = app["args"]
    preset = args["preset"]
    if preset not in plan.offered:
        return None
    own = plan.own(preset)
    for name in STAGES:
        if name not in plan.offered[preset]:
            args.pop(name, None)
        elif name in own:
            args[name] = own[name].args.model_dump(exclude_defaults=True)
        else:
            args[name] = {"app": plan.owner(name)}
    args.pop("gpu", None)
    if plan.machine.gpus:
        args["gpu"] = {"memory_gb": plan.machine.gpu_gb, "count": len(plan.machine.gpus)}
    asleep = not own["transcription"].fewest
    app.pop("autoscaling_policy", None)
    if asleep:
        app["autoscaling_policy"] = {"policy_function": "serve_app.autoscaling:wake_together"}
    pipeline = _deployment("Pipeline", INGRESS_CPUS) | ({"autoscaling_config": ASLEEP} if asleep else {})
    return app | {"deployments": [pipeline, *(_stage(stage) for stage in own.values())]}


def _stage(stage: Stage) -> dict[str, Any]:
    made = _deployment(STAGES[stage.name], stage.cpus, stage.gpus)
    if not stage.fewest:
        return made | {"autoscaling_config": ASLEEP}
    if stage.most == 1:
        return made
    by = BY_BLOCKS if stage.name == "diarization" else BY_WINDOWS
    return made | {"autoscaling_config": {"min_replicas": 1, "max_replicas": stage.most, **by}}


def _deployment(name: str, cpus: float, gpus: float = 0.0) -> dict[str, Any]:
    return {"name": name, "ray_actor_options": {"num_cpus": cpus, **({"num_gpus": gpus} if gpus else {})}}
