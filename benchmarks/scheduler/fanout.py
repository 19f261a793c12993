"""One long file on one and on two transcription replicas of one thread each, and what two processes could reach.

The model has the size of one of Whisper's and random weights that end after ten tokens, so that windows cost what they
do in earnest: beside the demo model, finding windows is a part of the work that counts. Its words mean nothing.

Two replicas on two cores share them with all else. `share` holds each replica to a part of a core, with one and with
two: then each has as much to compute with, as on a machine with a core (or a GPU) for each.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.common import ROOT, ask
from benchmarks.scheduler.held import held
from benchmarks.scheduler.served import long_file, timed
from benchmarks.store import whisper_files
from demo.service import Service
from model_store import DirectoryStore, ModelInfo, publish
from model_store.sources import DirectorySource
from serve_app import heap
from serve_app.own_ray import RAY
from serve_app.windows import SAMPLE_RATE

URL = "http://127.0.0.1:8000"
WORK = Path(".rayscribe/fanout")
REPLICA = "ServeReplica:fast:Transcription"
SIZES, STORED = ("tiny", "base", "small"), "int8"
BATCH = 4
ONE_BATCH = {"model": "fast", "response_format": "json", "language": "en", "temperature": "1"}
"""Above 0 each window is decoded once, whatever comes out."""
BATCHES = {"tiny": 6, "base": 3, "small": 1}
WARM_UP_MINUTES = {"tiny": 2.0, "base": 1.0, "small": 0.3}


def measure(minutes: float, rounds: int, size: str, share: float = 1.0) -> dict[str, Any]:
    """Return the seconds by replicas, how much faster two are (median), and how much faster two bare processes are.

    `share` is of a core; below 1 no bare processes are tried, as two would be twice as fast.
    """
    folder = whisper_files.whisper(WORK.absolute() / "models", size, STORED)
    store = DirectoryStore((WORK / "store").absolute())
    publish(
        DirectorySource(folder.name, folder.parent),
        "random-whisper",
        store,
        size,
        ModelInfo("whisper-ct2", "MIT", ("en",)),
    )
    audio, first = long_file(minutes), long_file(min(minutes, WARM_UP_MINUTES[size]))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):  # in turns, as a shared machine is not as quick from one minute to the next
        for replicas, taken in seconds.items():
            with _service(replicas, store), held(REPLICA, share) if share < 1 else nullcontext():
                ask(URL, first, **ONE_BATCH)
                taken.append(timed(lambda: ask(URL, audio, **ONE_BATCH)))
    speed_ups = [one / two for one, two in zip(*seconds.values(), strict=True)]
    speed_up = statistics.median(speed_ups)
    found = {"size": size, "minutes": minutes, "share": share, "seconds": seconds, "speed-ups": speed_ups}
    if share < 1:
        return {**found, "speed-up": speed_up}
    possible = _possible(folder, size)
    return {
        **found,
        "speed-up": speed_up,
        "two processes / one": possible,
        "of what is possible": speed_up / possible,
    }


@contextmanager
def _service(replicas: int, store: DirectoryStore) -> Iterator[None]:
    path = WORK / "config.yaml"
    path.write_text(yaml.safe_dump(_config(replicas)))
    places = {"RAYSCRIBE_STORE": str(store.root), "RAYSCRIBE_CACHE": str((WORK / "cache").absolute())}
    child = Service(path, WORK / "log", places)
    try:
        for _ in child.until_ready(f"{URL}/ready", 300):
            pass
        yield
    finally:
        child.stop()


def _possible(folder: Path, size: str) -> float:
    """Return how much two processes of one thread decode in the time of one alone."""

    def seconds(processes: int) -> float:
        command = [sys.executable, "-m", "benchmarks.scheduler.fanout", str(folder), str(BATCHES[size])]
        as_replicas = {**os.environ, **RAY}
        children = [
            subprocess.Popen(command, cwd=ROOT, env=as_replicas, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        return statistics.mean(float(child.communicate()[0]) for child in children)

    return 2 * statistics.median(seconds(1) / seconds(2) for _ in range(3))


def seconds_of_decoding(folder: str, batches: int) -> float:
    """Return the seconds of some batches, after a first one."""
    from serve_app.config import TranscriptionArgs
    from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper
    from serve_app.options import DecodeOptions

    heap.keep()
    args = TranscriptionArgs(model="random-whisper", device="cpu", compute_type="int8", beam_size=1, batch_size=BATCH)
    model = FasterWhisper(Path(folder), args, ("en",), 1)
    windows = [np.zeros(2 * SAMPLE_RATE, np.float32)] * BATCH
    options = DecodeOptions(language="en")
    model.transcribe(windows, options, temperature=1.0)
    began = time.perf_counter()
    for _ in range(batches):
        model.transcribe(windows, options, temperature=1.0)
    return time.perf_counter() - began


def _config(replicas: int) -> dict[str, Any]:
    preset = {
        "preset": "fast",
        "transcription": {
            "model": "random-whisper", "device": "cpu", "compute_type": "int8", "threads": 1, "beam_size": 1,
            "batch_size": BATCH,
        },
        "vad": {"window_s": 30, "pause_s": 0.8},
    }  # fmt: skip
    stage = {"name": "Transcription", "num_replicas": replicas}
    app = {"import_path": "serve_app.app:build_preset", "args": preset, "deployments": [stage]}
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": 8000, "request_timeout_s": 3600},
        "applications": [
            {"name": "fast", "route_prefix": "/fast", **app},
            {
                "name": "gateway",
                "route_prefix": "/",
                "import_path": "serve_app.app:build_gateway",
                "args": {"presets": ["fast"]},
            },
        ],
    }


if __name__ == "__main__":
    print(seconds_of_decoding(sys.argv[1], int(sys.argv[2])))
