"""The service's own scheduler over simulated replicas: how much of 1, 4, 16 and 64 of them one long file uses.

The pipeline, its flow of windows and the batches are the real ones; a model is a pause as long as its batch would take.
Replicas are chosen as `routing` does it: the shortest queue. A batch takes as long as its windows would one by one, so
that its size is 1, as the calibration of a real model would find.
"""

import asyncio
import random
import time
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from serve_app.batching import Batcher, Timed
from serve_app.blocks import Block
from serve_app.flow import Clock
from serve_app.listening import Heard, HeardBlock, HeardEnd, HeardWindow, Upload
from serve_app.options import AlignOptions, DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.pipeline import PresetPipeline
from serve_app.stages import Audio, Stage, WindowText
from serve_app.transcript import Segment
from serve_app.voices import Speakers, Voices
from serve_app.windows import SAMPLE_RATE, Window

HOURS = 3.0
RUN_S = 15.0
"""Seconds that a perfect scheduler would take."""
REPLICAS = (1, 4, 16, 64)
COST = {"transcription": 1.0, "alignment": 0.25, "diarization": 0.5}
"""What a second of speech costs in each stage, relative to transcription."""
ENGLISH = RequestOptions(DecodeOptions(language="en"), diarize=True)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Replicas(Generic[Item, Result]):
    """Batchers of one stage, each a replica; `seconds` is what a batch takes."""

    def __init__(
        self, count: int, size: int, seconds: Callable[[Item], float], answer: Callable[[Item], Result]
    ) -> None:
        self.busy_s = 0.0

        async def run(key: Hashable, items: Sequence[Item]) -> list[Result]:
            pause = sum(map(seconds, items))
            self.busy_s += pause
            await asyncio.sleep(pause)
            return [answer(item) for item in items]

        self._batchers = [Batcher([run], size) for _ in range(count)]
        self._waiting = [0] * count

    async def submit(self, item: Item, owner: str) -> Timed[Result]:
        """Send an item to the least loaded replica."""
        chosen = min(range(len(self._batchers)), key=lambda index: (self._waiting[index], random.random()))
        self._waiting[chosen] += 1
        try:
            return await self._batchers[chosen].submit(None, item, owner)
        finally:
            self._waiting[chosen] -= 1


@dataclass
class SimulatedStages:
    """Stages whose replicas only take time; `pace` turns seconds of speech into seconds of work."""

    count: int
    pace: float
    batch_size: int = 1
    has_alignment: bool = True
    has_diarization: bool = True
    stages: dict[str, Replicas[Any, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def cost(stage: str) -> Callable[[Any], float]:
            return lambda samples: float(samples[1] - samples[0]) / SAMPLE_RATE * self.pace * COST[stage]

        for stage in COST:
            size = 1 if stage == "diarization" else self.batch_size
            self.stages[stage] = Replicas(self.count, size, cost(stage), lambda item: item)

    def replicas(self, stage: Stage) -> int:
        """Return how many there are."""
        return self.count

    def share(self, samples: Audio) -> object:
        """Return the samples: here they are but the window's ends."""
        return samples

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        """Tell the language, at no cost."""
        return {"en": 1.0}

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        """Take a window's time."""
        timed = await self.stages["transcription"].submit(shared, owner)
        return WindowText("word", "en").run_in(timed.queue_s, timed.model_s, full=timed.full)

    async def align(
        self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> Sequence[Segment] | None:
        """Take a window's time."""
        await self.stages["alignment"].submit(shared, owner)
        return [Segment(window.start_s, window.stop_s, text.text)]

    async def embed(self, shared: object, owner: str) -> tuple[float, ...]:
        """Return no voice."""
        return ()

    async def hear(self, shared: object, block: Block, owner: str) -> Voices:
        """Take a block's time."""
        await self.stages["diarization"].submit(shared, owner)
        return Voices(block.start // SAMPLE_RATE, np.zeros((60, 1, 1), np.uint8), np.zeros((60, 1, 1), np.float32))

    async def speakers(self, voices: Sequence[Voices], options: SpeakerOptions, owner: str) -> Speakers:
        """Find nobody."""
        return Speakers()


def file_of(hours: float, seed: int = 0) -> Callable[[Upload, RequestOptions, Clock], Generator[Heard]]:
    """Return a listener that hears windows of 15 to 30 s with short pauses, and a block for each minute."""
    lengths = random.Random(seed)

    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        at, block, end = 0, 0, int(hours * 3600 * SAMPLE_RATE)
        while at < end:
            if at >= block:
                yield HeardBlock(Block(block, block + 60 * SAMPLE_RATE, False), np.array([block, block + 960_000]))
                block += 60 * SAMPLE_RATE
            stop = min(end, at + int(lengths.uniform(15, 30) * SAMPLE_RATE))
            yield HeardWindow(Window(at, stop), np.array([at, stop]))
            at = stop + SAMPLE_RATE
        yield HeardEnd(end)

    return listen


def measure(hours: float = HOURS, run_s: float = RUN_S, replicas: Sequence[int] = REPLICAS) -> dict[str, Any]:
    """Return, by replicas of each stage, the share of the slowest stage's time in which its replicas worked."""
    return {str(count): asyncio.run(_run(hours, run_s, count)) for count in replicas}


async def _run(hours: float, run_s: float, count: int) -> dict[str, float]:
    stages = SimulatedStages(count, pace=run_s * count / (hours * 3600))
    pipeline = PresetPipeline(stages, file_of(hours), lambda file: np.zeros(0, np.float32))
    began = time.perf_counter()
    transcript = await pipeline.run(b"", ENGLISH)
    wall = time.perf_counter() - began
    work = {name: stage.busy_s / count for name, stage in stages.stages.items()}
    longest = max(work.values())
    return {"efficiency": longest / wall, "wall_s": wall, "windows": len(transcript.segments), **work}


def show(console: Console, results: dict[str, Any]) -> None:
    """Print one table."""
    table = Table("replicas of each stage", "windows", "seconds", "efficiency", title="A file of 3 hours, simulated")
    for count, result in results.items():
        table.add_row(count, str(result["windows"]), f"{result['wall_s']:.2f}", f"{result['efficiency']:.2f}")
    console.print(table)
