"""Measure when the first text of a long file comes: `python -m benchmarks.first_text [--minutes 60] [--url URL]`."""

import json
import time
from typing import Annotated

import httpx
import numpy as np
import typer

from benchmarks.common import ALONE, ROOT, percentile, save, service, wav
from serve_app.models.audio import decode
from serve_app.windows import SAMPLE_RATE

GOAL_S = 3.0
LINGER_S = 12.0
"""A little more than `limits.linger_s`."""


def main(
    url: Annotated[str | None, typer.Option(help="a running service; none: configs/local.yaml is started")] = None,
    minutes: Annotated[float, typer.Option(help="how long the file is")] = 60,
    runs: Annotated[int, typer.Option(help="streams per preset, each given up after its first text")] = 5,
) -> None:
    """Stream a long file, take the time from the first byte sent to the first text, print and save."""
    once = decode((ROOT / "tests" / "data" / "two_minutes.flac").read_bytes())
    file = wav(np.resize(once, int(minutes * 60 * SAMPLE_RATE)))
    results = {}
    with service(url) as base:
        for preset in ("fast", "high"):
            seconds = [_first_text_s(base, preset, file) for _ in range(runs + 1)][1:]  # the first one warms up
            results[preset] = {"p50_s": percentile(seconds, 0.5), "max_s": max(seconds)}
            print(f"{preset}: first text of {minutes:g} minutes after {json.dumps(results[preset])}")
    print(f"goal: {GOAL_S:g} s")
    save("first_text", {"minutes": minutes, "goal_s": GOAL_S, "presets": results})


def _first_text_s(base: str, preset: str, file: bytes) -> float:
    time.sleep(LINGER_S)  # the one before was given up, and is worked on for so long yet
    began = time.perf_counter()
    form = {"model": preset, "stream": "true"}
    with httpx.stream(
        "POST", f"{base}/v1/audio/transcriptions", data=form, files={"file": file}, headers=ALONE, timeout=600
    ) as answer:
        for line in answer.iter_lines():
            if "transcript.text.delta" in line:
                return time.perf_counter() - began
    raise RuntimeError(f"no text came from preset '{preset}': status {answer.status_code}")


if __name__ == "__main__":
    typer.run(main)
