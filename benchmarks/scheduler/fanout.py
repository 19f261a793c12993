"""One long file on one and on two transcription replicas of one thread each."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import ask
from benchmarks.scheduler.served import TEXT, long_file, timed
from demo.service import Service

URL = "http://127.0.0.1:8000"


def measure(minutes: float, runs: int) -> dict[str, Any]:
    """Return the median seconds by replicas, and how much faster two are."""
    audio = long_file(minutes)
    seconds = {}
    for replicas in (1, 2):
        with _service(replicas):
            ask(URL, audio, **TEXT)
            seconds[replicas] = statistics.median(timed(lambda: ask(URL, audio, **TEXT)) for _ in range(runs))
    return {"minutes": minutes, "seconds": seconds, "speed-up": seconds[1] / seconds[2]}


@contextmanager
def _service(replicas: int) -> Iterator[None]:
    path = Path(".rayscribe/fanout.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(_config(replicas)))
    child = Service(path, Path(".rayscribe/fanout.log"))
    try:
        for _ in child.until_ready(f"{URL}/ready", 300):
            pass
        yield
    finally:
        child.stop()


def _config(replicas: int) -> dict[str, Any]:
    preset = {
        "preset": "fast",
        "transcription": {
            "model": "demo-whisper", "device": "cpu", "compute_type": "int8", "threads": 1, "beam_size": 1,
            "batch_size": 4,
        },
        "vad": {"window_s": 10, "pause_s": 0.8},
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
