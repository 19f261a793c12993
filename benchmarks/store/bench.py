"""What the parts share: where they work, how big, and taking turns so that a busy machine is equally unfair to all."""

import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

Sample = dict[str, Any]
"""What one run gave: `seconds`, and often `cpu_s`, `peak_mb` and more; or `error`, or `absent` with the reason."""


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark.

    work: big files lie here. scale: 1 for real sizes. rounds: runs of each case. s3: a real S3 server's endpoint; its
    keys are in the AWS variables. cap: bytes per second of each connection where they are capped. crowd: processes
    that fetch at once. sizes: which Whisper models are loaded.
    """

    work: Path
    scale: float = 1.0
    rounds: int = 3
    s3: str = ""
    cap: float = 80e6
    crowd: int = 8
    sizes: tuple[str, ...] = ("tiny", "small", "medium", "large-v3")
    console: Console = field(default_factory=lambda: Console(width=160))

    def bytes(self, size: float) -> int:
        """A size in bytes at this scale."""
        return int(size * self.scale)

    def empty(self, name: str) -> Path:
        """A directory below `work` with nothing in it, and nothing of what was in it left to be written."""
        path = self.work / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        os.sync()
        return path


def in_turns(cases: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Run all cases once per round, each round beginning with another; a case that is absent is asked once."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if not (samples[name] and "absent" in samples[name][0]):
                samples[name].append(cases[name]())
    return samples


def middle(samples: Sequence[Sample], key: str = "seconds") -> float:
    """The median of one figure over the runs that have it; NaN if none has."""
    values = [sample[key] for sample in samples if key in sample]
    return statistics.median(values) if values else float("nan")


def reason(samples: Sequence[Sample]) -> str:
    """Why a case has no figures; empty if it has."""
    return next((str(s[key]) for s in samples for key in ("absent", "error") if key in s), "")


def spread(samples: Sequence[Sample], key: str = "seconds") -> str:
    """Median, and smallest to largest."""
    values = [sample[key] for sample in samples if key in sample]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})" if values else "–"


def ratio(ours: float, theirs: float) -> str:
    """A ratio for a table; a dash where a side is missing."""
    return f"{ours / theirs:.2f}×" if ours == ours and theirs == theirs and theirs else "–"
