"""The training loop: stages by share of the time, moving average of the weights, checkpoints to resume from.

Each core runs a worker of its own with one thread; all update the same weights in shared memory and never wait for
each other (Hogwild). On a busy machine that is many times faster than threads or workers that meet in every step.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.whisper import tokens
from training.whisper.batches import Batch, Options, batches
from training.whisper.data import Dataset
from training.whisper.decode import word_error_rate
from training.whisper.losses import Helpers, Weights, losses, total
from training.whisper.model import Size, Whisper
from training.whisper.optimiser import Optimiser

AVERAGE = 0.998  # of the last some 500 steps


@dataclass(frozen=True)
class Stage:
    """Until which share of the time: longest content (frames), frames a batch, full 30 s share, loss weights."""

    until: float
    longest: int
    frames: int
    full: float
    weights: Weights


STAGES = (
    Stage(0.06, 160, 2000, 0.0, Weights(phones=1.0, words=0.5, before=0.0, guide=0.3)),
    Stage(0.18, 250, 2500, 0.0, Weights(phones=0.6, words=0.5, before=0.1, guide=0.4)),
    Stage(0.40, 400, 2000, 0.0, Weights(phones=0.4, words=0.5, before=0.1, guide=0.4)),
    Stage(0.75, 640, 2200, 0.04, Weights(phones=0.3, words=0.4, before=0.1, guide=0.3)),
    Stage(1.00, 640, 3000, 0.10, Weights(phones=0.2, words=0.3, before=0.05, guide=0.2)),
)


class Shared:
    """What all workers work on: the weights, and steps, seconds and seconds of speech heard so far."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        size = Size(vocabulary=len(tokens.tokens()))
        self.model, self.helpers = Whisper(size).share_memory(), Helpers(size).share_memory()
        self.progress = torch.zeros(3, dtype=torch.float64).share_memory_()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return float(self.progress[1])


class Worker:
    """One process's share of the training; the first keeps the average, the clock and the checkpoints."""

    def __init__(self, rank: int, shared: Shared, seed: int) -> None:
        self.shared, self.rank = shared, rank
        self.rng = np.random.default_rng([seed, rank, int(shared.progress[0])])
        torch.manual_seed(int(self.rng.integers(1 << 30)))
        self.average = copy.deepcopy(shared.model)
        self.optimiser, self.steps = Optimiser(shared.model, shared.helpers), 0
        self._last = time.monotonic()

    def save(self, path: Path) -> None:
        """Write a checkpoint under a temporary name, then rename it."""
        parts = {"model": self.shared.model, "helpers": self.shared.helpers, "average": self.average}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"progress": self.shared.progress}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)

    def step(self, batch: Batch, padding: int | None, weights: Weights, rate: float) -> dict[str, Tensor]:
        """One update; returns the losses."""
        with torch.autocast("cpu", torch.bfloat16):
            parts = losses(self.shared.model, self.shared.helpers, batch, padding)
        total(parts, weights).backward()
        self.steps += 1
        self.optimiser.step(rate * min(1.0, self.steps / 100))
        self._count(batch)
        return parts

    def _count(self, batch: Batch) -> None:
        progress = self.shared.progress
        progress[0] += 1
        progress[2] += batch.features.shape[1] * len(batch.features) / 100
        if self.rank == 0:
            progress[1] += self._tick()
            self._follow(min(AVERAGE, float(progress[0] / (progress[0] + 100))))

    def _tick(self) -> float:
        """Seconds since the last call, at most 30, so that a rest of the machine does not count."""
        last, self._last = self._last, time.monotonic()
        return min(self._last - last, 30.0)

    def _follow(self, keep: float) -> None:
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.shared.model.parameters()), 1 - keep)


def learning_rate(done: float, peak: float) -> float:
    """Hold until 40 % of the time, then a cosine to zero; every worker warms up over its first 100 steps besides."""
    return peak * (0.5 + 0.5 * math.cos(math.pi * max(0.0, (done - 0.4) / 0.6)))


def start(folder: Path, seed: int = 5) -> Shared:
    """The weights to train, from the checkpoint in `folder` where there is one."""
    shared = Shared(seed)
    if (folder / "checkpoint.pt").exists():
        state = torch.load(folder / "checkpoint.pt")
        shared.model.load_state_dict(state["model"])
        shared.helpers.load_state_dict(state["helpers"])
        shared.progress.copy_(state["progress"])
    return shared


def train(rank: int, shared: Shared, folder: Path, seconds: float, seed: int = 5, peak: float = 8e-4) -> None:
    """One worker's part until `seconds` of training are over in all; the first writes checkpoints and the log."""
    torch.set_num_threads(1)
    worker, data, dev = Worker(rank, shared, seed), Dataset(folder / "shards"), Dataset(folder / "dev")
    if (folder / "checkpoint.pt").exists():
        worker.average.load_state_dict(torch.load(folder / "checkpoint.pt")["average"])
    while shared.seconds < seconds:
        data.refresh()
        stage = next(stage for stage in STAGES if shared.seconds < stage.until * seconds)
        _run(worker, data, stage, seconds, peak)
        if rank == 0:
            worker.save(folder / "checkpoint.pt")
            if shared.seconds > 0.3 * seconds:
                print(f"  dev wer {word_error_rate(worker.average, dev):.4f}", flush=True)


def _run(worker: Worker, data: Dataset, stage: Stage, seconds: float, peak: float, piece: float = 180.0) -> None:
    """Train in one stage for `piece` seconds, or until it is over."""
    end = min(stage.until * seconds, worker.shared.seconds + piece)
    source = batches(data, Options(stage.longest, stage.frames), worker.rng)
    sums: dict[str, float] = {}
    while worker.shared.seconds < end:
        _update(worker, source, stage, learning_rate(worker.shared.seconds / seconds, peak), sums)
        if sums["steps"] >= 50:
            _report(worker, sums)


def _update(worker: Worker, source: Iterator[Batch], stage: Stage, rate: float, sums: dict[str, float]) -> None:
    """One step; `stage.full` of them with all the padding."""
    batch = next(source)
    full = worker.rng.random() < stage.full
    if full:
        batch = batch.part(max(1, stage.frames // 1500))
    parts = worker.step(batch, None if full else 24, stage.weights, rate)
    for name, value in parts.items():
        sums[name] = sums.get(name, 0.0) + float(value.detach())
    sums["steps"] = sums.get("steps", 0.0) + 1


def _report(worker: Worker, sums: dict[str, float]) -> None:
    steps = sums.pop("steps")
    line = " ".join(f"{name} {value / steps:.3f}" for name, value in sums.items())
    count, seconds, heard = worker.shared.progress.tolist()
    if worker.rank == 0:
        print(f"{seconds:5.0f} s, step {count:.0f}, heard {heard / 3600:.1f} h: {line}", flush=True)
    sums.clear()
