"""How much memory a pipeline replica takes for files of 10 minutes, 1 hour and 10 hours: real decoding, speech, blocks.

The stages take no time and keep nothing, so that only the pipeline's own memory is seen.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.common import ROOT
from benchmarks.scheduler.processes import in_a_process, status
from serve_app.models.audio import decode
from serve_app.windows import SAMPLE_RATE

MINUTES = (10, 60, 600)


def measure(work: Path, minutes: tuple[int, ...] = MINUTES) -> dict[str, Any]:
    """Return by length the peak of resident memory, in MB, above what the process took before, and seconds."""
    return {f"{each} min": in_a_process("benchmarks.scheduler.memory", str(_ogg(work, each))) for each in minutes}


def _ogg(work: Path, minutes: int) -> Path:
    """Write two_minutes.flac over and over as ogg/opus."""
    path = work / f"{minutes}.ogg"
    if not path.exists():
        once = decode((ROOT / "tests" / "data" / "two_minutes.flac").read_bytes())
        work.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libopus", rate=16_000, layout="mono")
            for _ in range(-(-minutes * 60 * SAMPLE_RATE // len(once))):
                frame = av.AudioFrame.from_ndarray((once * 32767).astype(np.int16)[None], format="s16", layout="mono")
                frame.sample_rate = SAMPLE_RATE
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


async def _run(path: Path) -> dict[str, float]:
    from benchmarks.scheduler.simulated import ENGLISH, SimulatedStages
    from serve_app.config import VadArgs
    from serve_app.listening import Listener
    from serve_app.models.audio import pieces, stated_length
    from serve_app.models.vad import SpeechFinder
    from serve_app.pipeline import PresetPipeline

    class Listening(SimulatedStages):
        def replicas(self, stage: Any) -> int:
            return 1

        def share(self, samples: Any) -> object:
            return np.array([0, len(samples)])

    finder = SpeechFinder(VadArgs(window_s=10, pause_s=0.8))
    listener = Listener(lambda upload, options: pieces(upload), lambda options: finder.stream(), stated_length)
    pipeline = PresetPipeline(Listening(1, 0.0), listener.listen, decode)
    before = status("VmRSS")
    transcript = await pipeline.run(path, ENGLISH)
    return {
        "peak_mb": status("VmHWM") - before,
        "before_mb": before,
        "seconds": transcript.timings["total"],
        "windows": len(transcript.segments),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(Path(sys.argv[1])))))
