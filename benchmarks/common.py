"""What the benchmarks share: a running service, percentiles, results as JSON."""

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

from demo.service import Service
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

ROOT = Path(__file__).parent.parent
RESULTS = Path("benchmarks/results")


@contextmanager
def service(url: str | None, patience_s: float = 600) -> Iterator[str]:
    """Yield the URL of a ready service: the one given, else `configs/local.yaml`, started here and stopped after."""
    if url:
        yield url.rstrip("/")
        return
    local = "http://127.0.0.1:8000"
    child = Service(ROOT / "configs" / "local.yaml", Path(".rayscribe/benchmark.log"))
    try:
        for _ in child.until_ready(f"{local}/ready", patience_s):
            pass
        yield local
    finally:
        child.stop()


ALONE = {"Cache-Control": "no-cache"}
"""Every request is work of its own, though the same clip is sent many times."""


def ask(url: str, audio: bytes, **form: str) -> httpx.Response:
    """Send one file to be transcribed."""
    response = _client().post(f"{url}/v1/audio/transcriptions", data=form, files={"file": audio}, headers=ALONE)
    response.raise_for_status()
    return response


@cache
def _client() -> httpx.Client:
    """One for all: making one takes longer than a request."""
    return httpx.Client(timeout=3600, limits=httpx.Limits(max_connections=None))


def wav(samples: Audio) -> bytes:
    """Return samples as a 16-bit wav file."""
    file = BytesIO()
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return float(np.percentile(values, share * 100)) if len(values) else float("nan")


def save(name: str, result: dict[str, Any]) -> None:
    """Write a result beside the machine it was measured on, and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {"cpu_count": _cpus(), "machine": platform.machine(), "python": platform.python_version()}
    path.write_text(json.dumps({"machine": machine, **result}, indent=2) + "\n")
    print(f"\nwritten to {path}")


def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0))
