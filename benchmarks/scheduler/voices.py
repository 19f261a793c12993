"""How much memory and time the clustering at a file's end takes: `Diarizer.turns` over 2 and 10 hours of dense talk.

The voices are those of the demo's conversation over and over, each a little off, as two hours of it would have them.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT
from benchmarks.scheduler.processes import in_a_process, status
from serve_app.blocks import Block
from serve_app.config import DiarizationArgs
from serve_app.models.audio import decode
from serve_app.models.diarizer import Diarizer
from serve_app.options import SpeakerOptions
from serve_app.voices import Voices

HOURS = (2, 10)
CHUNKS_PER_HOUR = 3600
SPREAD = 0.2
"""Of the embeddings' own standard deviation: how far the same voice is from itself."""


def measure(hours: tuple[int, ...] = HOURS) -> dict[str, Any]:
    """Return by length the peak of resident memory, in MB, above the models and the voices, and seconds."""
    return {f"{each} h": in_a_process("benchmarks.scheduler.voices", str(each)) for each in hours}


def _conversation(diarizer: Diarizer) -> Voices:
    audio = decode((ROOT / "demo" / "conversation.flac").read_bytes())
    return diarizer.hear(Block(0, len(audio), True), audio)


def _of(hours: int, once: Voices) -> Voices:
    """Return hours of voices, in one block."""
    chunks = np.arange(hours * CHUNKS_PER_HOUR) % len(once.scores)
    off = np.random.default_rng(0).standard_normal((len(chunks), *once.embeddings.shape[1:]), np.float32)
    return Voices(0, once.scores[chunks], once.embeddings[chunks] + SPREAD * np.nanstd(once.embeddings) * off)


def _run(hours: int) -> dict[str, float]:
    diarizer = Diarizer(ROOT / "demo" / "models" / "diarization", DiarizationArgs(model="demo", device="cpu"), 1)
    voices = _of(hours, _conversation(diarizer))
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before, started = status("VmRSS"), time.perf_counter()
    found = diarizer.turns([voices], SpeakerOptions())
    return {
        "peak_mb": status("VmHWM") - before,
        "before_mb": before,
        "seconds": time.perf_counter() - started,
        "embeddings": int(np.count_nonzero(voices.scores.any(1))),
        "speakers": len({turn.speaker for turn in found.turns}),
        "turns": len(found.turns),
    }


if __name__ == "__main__":
    print(json.dumps(_run(int(sys.argv[1]))))
