"""What to run on a machine, in figures, and whether the machine holds it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serve_app.config_rules import StageArgs
from serve_app.gpu_rules import pack
from serve_app.hardware.machine import Machine
from serve_app.kuberay import SERVE_GB

INGRESS_GB = 0.5
"""A gateway or a pipeline: 0.26 to 0.36 were seen resident, and audio is under way."""
INGRESS_CPUS = 0.1


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a preset's own: what a replica reserves and takes, and how many there are at least and at most."""

    preset: str
    name: str
    args: StageArgs
    cpus: float
    gpus: float
    memory_gb: float
    fewest: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The presets of a machine; `offered` are the stages of each, borrowed from another one unless they are its own."""

    machine: Machine
    offered: dict[str, tuple[str, ...]]
    stages: tuple[Stage, ...]

    def fits(self) -> bool:
        """Whether cores, memory and GPUs hold everything at its most."""
        ingress = len(self.offered) + 1
        cpus = INGRESS_CPUS * ingress + sum(stage.cpus * stage.most for stage in self.stages)
        memory = SERVE_GB + INGRESS_GB * ingress + sum(stage.memory_gb * stage.most for stage in self.stages)
        held = cpus <= whole_cores(self.machine) + 1e-6 and memory <= self.machine.memory_gb
        return held and all(pack(shares, len(self.machine.gpus)) for shares in self._on_gpus())

    def _on_gpus(self) -> Iterator[list[float]]:
        """Yield the shares of a GPU that there may be at once: what is awake, and any one preset that has woken."""
        awake = [stage.gpus for stage in self.stages for _ in range(stage.most) if stage.fewest]
        yield awake
        for preset in self.offered:
            yield awake + [stage.gpus for stage in self.stages if stage.preset == preset and not stage.fewest]

    def own(self, preset: str) -> dict[str, Stage]:
        """Return a preset's own stages by name."""
        return {stage.name: stage for stage in self.stages if stage.preset == preset}

    def owner(self, name: str) -> str:
        """Return the preset that lends a stage to the others."""
        return next(stage.preset for stage in self.stages if stage.name == name)

    def __str__(self) -> str:
        return "; ".join(self._told(preset) for preset in self.offered)

    def _told(self, preset: str) -> str:
        stage = self.own(preset)["transcription"]
        args: Any = stage.args
        parts = [f"{preset}: {args.model} in {args.compute_type}, batch_size {args.batch_size}"]
        parts += [f"{stage.gpus:g} of a GPU"] if stage.gpus else []
        parts += [f"up to {stage.most} replicas"] if stage.most > 1 else []
        return ", ".join(parts if stage.fewest else [*parts, "asleep until asked for"])


def whole_cores(machine: Machine) -> int:
    """Return the CPUs that Ray counts."""
    return max(1, math.floor(machine.cpus))
