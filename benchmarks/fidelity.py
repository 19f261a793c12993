"""Words, their times and their speakers from the service, held against whisperx in this process.

    python -m benchmarks.fidelity [--url http://…] [--at-once 8]

The same models, windows, beam and threads; whisperx one file after another, the service first alone and then with all
files sent at once, several times over. Wanted: the same words, times within 20 ms, the same speakers up to renaming.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import ROOT, ask, save, service
from benchmarks.in_process import WhisperX
from serve_app.config import VadArgs
from serve_app.models.audio import decode

NAMES = ("demo/conversation", "tests/data/three_speakers", "tests/data/two_minutes", "tests/data/ten_seconds")
VAD = VadArgs(window_s=10, pause_s=0.8)
WORDS = {"model": "high", "response_format": "verbose_json", "timestamp_granularities[]": "word", "diarize": "true"}
CLOSE_S = 0.020


@dataclass(frozen=True)
class Heard:
    """One word: its text, start and end in seconds, and who said it."""

    text: str
    start: float
    end: float
    speaker: str


def main(
    url: str | None = None, at_once: Annotated[int, typer.Option(help="times that all files are sent at once")] = 4
) -> None:
    """Measure, print and save."""
    files = {Path(name).name: (ROOT / f"{name}.flac").read_bytes() for name in NAMES}
    peer = WhisperX(5, 2, VAD, speakers=True)
    theirs = {name: _theirs(peer.full(decode(audio).copy())) for name, audio in files.items()}
    with service(url) as base:
        alone = {name: _ours(base, audio) for name, audio in files.items()}
        crowd = [name for _ in range(at_once) for name in files]
        with ThreadPoolExecutor(len(crowd)) as pool:
            loaded = list(zip(crowd, pool.map(lambda name: _ours(base, files[name]), crowd), strict=True))
    results = {name: compare(alone[name], theirs[name]) for name in files}
    changed = sum(heard != alone[name] for name, heard in loaded)
    _print(results, changed, len(loaded))
    save("fidelity", {"files": results, "under load": {"answers": len(loaded), "other than alone": changed}})


def compare(ours: Sequence[Heard], theirs: Sequence[Heard]) -> dict[str, Any]:
    """Count the words that agree, in text, in time and in speaker after the best renaming."""
    same = [word.text for word in ours] == [word.text for word in theirs]
    pairs = list(zip(ours, theirs, strict=False)) if same else []
    apart = [max(abs(a.start - b.start), abs(a.end - b.end)) for a, b in pairs]
    names = Counter((a.speaker, b.speaker) for a, b in pairs)
    renamed: dict[str, str] = {}
    for (mine, other), _ in names.most_common():
        if mine not in renamed and other not in renamed.values():
            renamed[mine] = other
    return {
        "words": len(ours),
        "same words": same,
        "farthest apart_s": max(apart, default=None),
        "beyond 20 ms": int(sum(each > CLOSE_S + 1e-9 for each in apart)),
        "other speaker": sum(renamed.get(a.speaker) != b.speaker for a, b in pairs),
    }


def _ours(url: str, audio: bytes) -> list[Heard]:
    answer = ask(url, audio, **WORDS).json()
    return [Heard(word["word"], word["start"], word["end"], word.get("speaker", "")) for word in answer["words"]]


def _theirs(answer: Any) -> list[Heard]:
    words = [word for segment in answer["segments"] for word in segment["words"]]
    return [Heard(word["word"], float(word["start"]), float(word["end"]), word.get("speaker", "")) for word in words]


def _print(results: dict[str, Any], changed: int, answers: int) -> None:
    table = Table("file", "words", "same words", "farthest apart", "beyond 20 ms", "other speaker")
    for name, row in results.items():
        apart = "–" if row["farthest apart_s"] is None else f"{row['farthest apart_s'] * 1000:.0f} ms"
        table.add_row(
            name, str(row["words"]), str(row["same words"]), apart, str(row["beyond 20 ms"]), str(row["other speaker"])
        )
    Console(width=120).print(table, f"{answers} answers under load, {changed} other than alone")


if __name__ == "__main__":
    typer.run(main)
