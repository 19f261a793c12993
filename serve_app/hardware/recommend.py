"""Which presets a machine holds, and with what: the first of ever smaller plans that fits by the catalog's figures.

Models and options are those of a config in `configs/`; what each stage needs is `memory_need`'s. Everything fits at its
most replicas, so that none ever waits for room.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from model_store.references import Reference
from serve_app.config import PresetArgs
from serve_app.config_rules import STAGES, StageArgs, borrows
from serve_app.gpu_rules import replicas
from serve_app.hardware.machine import Machine
from serve_app.hardware.nvidia import OLDEST
from serve_app.hardware.plan import INGRESS_CPUS, Plan, Stage, whole_cores
from serve_app.memory_need import need_of
from serve_app.models.devices import CUDA_GB
from serve_app.presets_table import PUBLISHED
from serve_app.serve_config import CheckedConfig

WEIGHTS = {"transcription": 3.0, "alignment": 1.0, "diarization": 2.0}
"""How cores are shared out."""
THREADS = {"transcription": 4, "alignment": 1, "diarization": 2}
"""What a replica uses where there are as many cores: presets are seldom all at work. Beyond it, replicas gain more."""
GPU_STAGE_CPUS = 1.0
"""What the CPU does for a stage on a GPU, at most."""
BATCHES = ((16, 8, 4), (2, 1))
"""Those of the second part only where the first ones leave room for no preset: they halve what a GPU does."""
MOST_ON_A_GPU = 2
"""Replicas of a stage: one prepares while the other computes; more would only take turns."""
LARGE_SPEED = 0.24
"""Seconds of audio a second and thread of the large model in int8: a quarter of small's, of which faster-whisper's
README has 13 minutes in 102 s by 8 threads."""
SLOWEST = 0.5
"""On a CPU a preset that is slower, in seconds of audio a second, is not recommended."""
COPY_GB = 0.5
"""What a replica takes besides its model: it is a copy of a process that has imported all, and shares that memory; 0.05
to 0.3 were seen of its own, at work on the demo models."""
GPU_TYPES = ("float16", "int8_float16")


class TooSmall(Exception):
    """Not even the first preset fits."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to run some presets: `asleep` are those without a replica until they are asked for."""

    offered: dict[str, tuple[str, ...]]
    asleep: tuple[str, ...]
    compute_type: str
    batch: int


def usable(machine: Machine) -> Machine:
    """Return the machine without its GPUs where one of them is too old for the libraries."""
    return replace(machine, gpus=()) if any(gpu.capability < OLDEST for gpu in machine.gpus) else machine


def recommend(machine: Machine, base: CheckedConfig) -> Plan:
    """Return the plan with the most presets of `base` that the machine holds; raises TooSmall if that is none."""
    machine = usable(machine)
    for choice in _choices(machine, base):
        plan = _plan(machine, base, choice)
        if plan and plan.fits():
            return _grown(plan)
    first, args = next(iter(base.presets.items()))
    raise TooSmall(f"{first} with {args.transcription.model} does not fit: {machine}. Take more memory.")


def _choices(machine: Machine, base: CheckedConfig) -> Iterator[_Choice]:
    """Yield ways from the richest: rather another batch, type or sleep than a preset less."""
    usual = tuple(name for name in base.presets if _sleeps(base, name))
    quick = {name: args for name, args in base.presets.items() if machine.gpus or _quick(machine, args)}
    for batches, offered in product(BATCHES, _offers(quick)):
        names = tuple(offered)
        if machine.gpus:
            sleepers = [names[count:] for count in range(len(names), 0, -1)]
            yield from (_Choice(offered, *each) for each in product(sleepers, GPU_TYPES, batches))
        else:
            yield from (_Choice(offered, usual, "int8", batch) for batch in batches)


def _quick(machine: Machine, args: PresetArgs) -> bool:
    """Whether a CPU is quick enough for a preset, as far as anything is published of its model."""
    size = Reference.parse(args.transcription.model).name.removeprefix("whisper-")
    than_large = PUBLISHED[size][0] if size in PUBLISHED else math.inf
    return than_large * LARGE_SPEED * min(THREADS["transcription"], machine.cpus) >= SLOWEST


def _sleeps(base: CheckedConfig, name: str) -> bool:
    (app,) = (app for app in base.apps.all if app.name == name)
    deployment = app.deployment("Transcription")[1]
    return deployment is not None and replicas(deployment)[0] == 0


def _offers(presets: Mapping[str, PresetArgs]) -> Iterator[dict[str, tuple[str, ...]]]:
    """Yield presets and their stages: all, then without the largest, at last the first one's text alone."""
    stages = {name: tuple(each for each in STAGES if getattr(args, each)) for name, args in presets.items()}
    names = tuple(stages)
    for count in range(len(names), 0, -1):
        yield {name: stages[name] for name in names[:count]}
    for count in range(len(stages[names[0]]) - 1 if names else 0, 0, -1):
        yield {names[0]: stages[names[0]][:count]}


def _plan(machine: Machine, base: CheckedConfig, choice: _Choice) -> Plan | None:
    """Make a plan of a choice; None where a stage alone is too large for a GPU."""
    owned = [(preset, name) for preset, stages in choice.offered.items() for name in stages]
    owned = [
        (preset, name) for preset, name in owned if name == "transcription" or preset == _owner(base, choice, name)
    ]
    unit = (whole_cores(machine) - INGRESS_CPUS * (len(choice.offered) + 1)) / sum(WEIGHTS[name] for _, name in owned)
    stages = [_stage(machine, base, choice, unit, preset, name) for preset, name in owned]
    whole = tuple(stage for stage in stages if stage)
    return Plan(machine, choice.offered, whole) if len(whole) == len(stages) else None


def _owner(base: CheckedConfig, choice: _Choice, name: str) -> str:
    """Return who lends a stage: the same as in the base, or the largest preset that offers it."""
    offering = [preset for preset, stages in choice.offered.items() if name in stages]
    return next((preset for preset in offering if not borrows(getattr(base.presets[preset], name))), offering[-1])


def _stage(machine: Machine, base: CheckedConfig, choice: _Choice, unit: float, preset: str, name: str) -> Stage | None:
    args = _args(machine, base, choice, preset, name)
    need = need_of(args, base.catalog) if base.catalog else None
    if need is None:
        return None
    share = need.smallest_share(machine.gpu_gb) if machine.gpus else 0.0
    if share is None:
        return None
    cpus, threads = _cores(machine, unit * WEIGHTS[name], name)
    memory = COPY_GB + (need.weights if share else need.total - CUDA_GB)
    fewest = 0 if name == "transcription" and preset in choice.asleep else 1
    return Stage(preset, name, args.model_copy(update={"threads": threads}), cpus, share, memory, fewest)


def _args(machine: Machine, base: CheckedConfig, choice: _Choice, preset: str, name: str) -> StageArgs:
    found = [getattr(args, name) for args in base.presets.values() if getattr(args, name)]
    own: Any = next(each for each in found if not borrows(each))
    if name == "transcription":
        own = base.presets[preset].transcription
    change: dict[str, Any] = {"device": "cuda" if machine.gpus else "cpu"}
    if name == "alignment":
        change["batch_size"] = max(1, choice.batch // 4) if machine.gpus else 1
    elif name == "diarization":
        change["batch_size"] = min(own.batch_size, choice.batch)
    else:
        change["compute_type"] = choice.compute_type
        if machine.gpus or choice.batch < own.largest_batch:  # else as the config says, `auto` if it says so
            change["batch_size"] = choice.batch
    return own.model_copy(update=change)  # type: ignore[no-any-return]


def _cores(machine: Machine, cores: float, name: str) -> tuple[float, int]:
    """Return what a replica reserves of its part of the cores, and its threads; 0: as many as it reserves."""
    most = THREADS[name]
    if machine.gpus:
        return min(GPU_STAGE_CPUS, _part(cores)), 0
    if cores >= most:
        return float(most), 0
    return float(math.floor(cores)) if cores >= 1 else _part(cores), min(most, whole_cores(machine))


def _part(cores: float) -> float:
    return math.floor(100 * cores) / 100


def _grown(plan: Plan) -> Plan:
    """Return the plan with as many replicas more as fit, one after another of what is awake."""
    most = MOST_ON_A_GPU * len(plan.machine.gpus) or math.inf
    growing = [index for index, stage in enumerate(plan.stages) if stage.fewest]
    while growing:
        for index in list(growing):
            stages = list(plan.stages)
            stages[index] = replace(stages[index], most=stages[index].most + 1)
            larger = replace(plan, stages=tuple(stages))
            if stages[index].most <= most and larger.fits():
                plan = larger
            else:
                growing.remove(index)
    return plan
