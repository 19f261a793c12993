"""A running service under several clients: a crowd of clips, a clip beside a long file, how far the stages overlap."""

import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.common import ROOT, ask, percentile, wav
from benchmarks.in_process import WhisperX
from serve_app.config import VadArgs
from serve_app.models.audio import decode
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

DATA = ROOT / "tests" / "data"
CLIP = (DATA / "ten_seconds.flac").read_bytes()
VAD = VadArgs(window_s=10, pause_s=0.8)
TEXT = {"model": "fast", "response_format": "json", "language": "en"}
SPEAKERS = {"model": "high", "response_format": "diarized_json", "language": "en"}
STAGES = ("decode", "vad", "transcription", "alignment", "diarization", "merge")


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def long_file(minutes: float) -> bytes:
    """Return two_minutes.flac over and over, as a wav file."""
    once = decode((DATA / "two_minutes.flac").read_bytes())
    samples: Audio = np.resize(once, round(minutes * 60 * SAMPLE_RATE))
    return wav(samples)


def crowd(url: str, clips: int, rounds: int) -> dict[str, Any]:
    """Compare a crowd of clips sent at once with the same one after another, and with whisperx one after another."""
    peer = WhisperX(1, 2, VAD, speakers=False)
    alone = "whisperx in process, one after another"
    ways: dict[str, Callable[[], object]] = {
        "at once": lambda: _at_once(url, clips),
        "one after another": lambda: [ask(url, CLIP, **TEXT) for _ in range(clips)],
        alone: lambda: [peer.transcribe(decode(CLIP)) for _ in range(clips)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    _at_once(url, clips)
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ours = middle["at once"]
    return {
        "clips": clips,
        "seconds": middle,
        "at once / one after another": middle["one after another"] / ours,
        "at once / whisperx": middle[alone] / ours,
    }


def _at_once(url: str, clips: int) -> None:
    with ThreadPoolExecutor(clips) as pool:
        list(pool.map(lambda _: ask(url, CLIP, **TEXT), range(clips)))


def fairness(url: str, minutes: float, runs: int) -> dict[str, Any]:
    """Compare a clip's latency on an idle service with that beside a long file which is in work all the time."""
    results = {}
    for name, form in (("fast, text", TEXT), ("high, speakers", SPEAKERS)):
        for _ in range(3):
            ask(url, CLIP, **form)
        idle = [timed(lambda form=form: ask(url, CLIP, **form)) for _ in range(runs)]  # type: ignore[misc]
        with _in_work(url, long_file(minutes), form):
            busy = [timed(lambda form=form: ask(url, CLIP, **form)) for _ in range(runs)]  # type: ignore[misc]
        results[name] = {
            "idle_p50_s": percentile(idle, 0.5),
            "idle_p95_s": percentile(idle, 0.95),
            "busy_p50_s": percentile(busy, 0.5),
            "busy_p95_s": percentile(busy, 0.95),
            "p95 / idle p95": percentile(busy, 0.95) / percentile(idle, 0.95),
        }
    return results


@contextmanager
def _in_work(url: str, audio: bytes, form: dict[str, str]) -> Iterator[None]:
    """Keep a long file in work, sent again whenever it is done."""
    over = threading.Event()
    begun = threading.Event()

    def send() -> None:
        while not over.is_set():
            begun.set()
            ask(url, audio, **form)

    sender = threading.Thread(target=send)
    sender.start()
    begun.wait()
    time.sleep(2)  # the upload; what is measured is a clip beside windows in work
    try:
        yield
    finally:
        over.set()
        sender.join()


def overlap(url: str, minutes: float, runs: int) -> dict[str, Any]:
    """Compare the wall time of a long file with the longest of its stages."""
    audio, found = long_file(minutes), []
    for _ in range(runs):
        parts = _parts(ask(url, audio, **SPEAKERS).headers["server-timing"])
        longest = max(parts[stage] for stage in STAGES if stage in parts)
        found.append({**parts, "wall / longest stage": parts["total"] / longest})
    middle = {name: statistics.median(run[name] for run in found) for name in found[0]}
    return {"minutes": minutes, **middle}


def overhead(url: str, runs: int) -> dict[str, float]:
    """Return the medians of a lone clip's parts: `http` beyond the pipeline, `serve` inside it but in no model."""
    for _ in range(3):
        ask(url, CLIP, **TEXT)
    rows: list[dict[str, float]] = []
    for _ in range(runs):
        began = time.perf_counter()
        parts = _parts(ask(url, CLIP, **TEXT).headers["server-timing"])
        wall = time.perf_counter() - began
        work = sum(parts[name] for name in ("decode", "vad", "model"))
        rows.append({"wall": wall, "work": work, "http": wall - parts["total"], "serve": parts["total"] - work})
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _parts(header: str) -> dict[str, float]:
    return {name: float(ms) / 1000 for name, ms in re.findall(r"(\w+);dur=([\d.]+)", header)}


def summary(values: Sequence[float]) -> str:
    """Return median and 95th percentile in milliseconds."""
    return f"{percentile(values, 0.5) * 1000:.0f} / {percentile(values, 0.95) * 1000:.0f} ms"
