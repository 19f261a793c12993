"""What the demo models hear, through the running service, on sentences and voices that training never met.

    python -m benchmarks.accuracy [--url http://…] [--preset high] [--clips 150]

Word error rate, start error of the words that were heard right, words made up where nobody speaks, diarization error
rate (collar 0.25 s on either side, number of speakers not given), and speech of synthesisers left out of training.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Annotated, Any

import numpy as np
import typer
from pyannote.core import Annotation, Segment
from rich.console import Console
from rich.table import Table

from benchmarks.common import ask, percentile, save, service, wav
from benchmarks.scoring import edits, plain
from training.heldout import Clip, clips, long_files, noisy, non_speech, unheard_synthesisers
from training.speakers_scoring import Case, error_rates, make_cases
from training.speech import HELD_OUT_VARIANTS

SEED = 2026
AT_ONCE = 4
"""Requests under way at once: they share batches, as real ones do."""


@dataclass
class Score:
    """Sums over a set of clips; times in seconds."""

    clips: int = 0
    seconds: float = 0.0
    words: int = 0
    heard: int = 0
    errors: int = 0
    start_errors: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the figures that are reported."""
        return {
            "clips": self.clips,
            "seconds": round(self.seconds, 1),
            "words": self.words,
            "words_heard": self.heard,
            "wer": self.errors / self.words if self.words else None,
            "start_error_p50_s": percentile(self.start_errors, 0.5) if self.start_errors else None,
            "start_error_p90_s": percentile(self.start_errors, 0.9) if self.start_errors else None,
        }


def main(
    url: str | None = None,
    preset: str = "high",
    count: Annotated[int, typer.Option("--clips", help="single sentences")] = 150,
    files: Annotated[int, typer.Option(help="files of some minutes")] = 6,
    conversations: Annotated[int, typer.Option(help="for each number of speakers")] = 15,
) -> None:
    """Measure, print and save."""
    sets: dict[str, Callable[[], Iterable[Clip]]] = {
        "sentences": lambda: clips(SEED, count),
        "sentences, noise at 15 dB": lambda: noisy(SEED, count // 2),
        "files of 2 to 5 minutes": lambda: long_files(SEED, files),
        "silence, noise, tones …": lambda: non_speech(SEED),
    }
    with service(url) as base:
        words = {name: _score(base, preset, make()).row() for name, make in sets.items()}
        words |= {f"unheard: {name}": score.row() for name, score in _unheard(base, preset, count // 3)}
        speakers = _speakers(base, preset, conversations)
    _print(words, speakers)
    save("accuracy", {"preset": preset, "seed": SEED, "words": words, "speakers": speakers})


def _score(base: str, preset: str, samples: Iterable[Clip]) -> Score:
    score = Score()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for clip, answer in pool.map(lambda clip: (clip, _transcribe(base, preset, clip)), samples):
            _add(score, clip, answer)
    return score


def _transcribe(base: str, preset: str, clip: Clip) -> Any:
    form = {"model": preset, "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    return ask(base, wav(clip.samples), **form).json()


def _add(score: Score, clip: Clip, answer: Any) -> None:
    said, heard = plain(clip.text), plain(answer["text"])
    score.clips += 1
    score.seconds += clip.duration
    score.words += len(said)
    score.heard += len(heard)
    score.errors += edits(said, heard)
    if any(word.start for word in clip.words):
        score.start_errors += _start_errors(clip, answer["words"])


def _start_errors(clip: Clip, placed: Any) -> list[float]:
    """Return how far off the starts are of those words that were heard right (an alignment of both word lists)."""
    said, heard = plain(clip.text), [" ".join(plain(word["word"])) for word in placed]
    blocks = SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    pairs = ((clip.words[a + i], placed[b + i]) for a, b, size in blocks for i in range(size))
    return [abs(word.start - found["start"]) for word, found in pairs]


def _unheard(base: str, preset: str, count: int) -> Iterator[tuple[str, Score]]:
    try:
        samples = list(unheard_synthesisers(SEED, count))
    except RuntimeError as missing:
        print(missing)
        return
    for voice in dict.fromkeys(clip.voice for clip in samples):
        yield voice, _score(base, preset, [clip for clip in samples if clip.voice == voice])


def _speakers(base: str, preset: str, count: int) -> dict[str, Any]:
    cases = [case for n in (2, 3, 4) for case in make_cases(SEED, HELD_OUT_VARIANTS, n, count, True)]
    rates = error_rates(cases, lambda case: _diarize(base, preset, case))
    return {
        f"{n} speakers": {
            "conversations": count,
            "seconds": round(sum(case.file["waveform"].shape[1] / 16_000 for case in cases if case.speakers == n), 1),
            "der": rate,
        }
        for n, rate in rates.items()
    }


def _diarize(base: str, preset: str, case: Case) -> Annotation:
    samples = np.asarray(case.file["waveform"][0])
    found = Annotation(uri=case.reference.uri)
    for index, line in enumerate(ask(base, wav(samples), model=preset, response_format="rttm").text.splitlines()):
        start, length, speaker = (line.split()[i] for i in (3, 4, 7))
        found[Segment(float(start), float(start) + float(length)), index] = speaker
    return found


def _print(words: dict[str, Any], speakers: dict[str, Any]) -> None:
    table = Table("set", "clips", "seconds", "words", "heard", "WER", "start error p50 / p90")
    for name, row in words.items():
        times = [row["start_error_p50_s"], row["start_error_p90_s"]]
        shown = " / ".join(f"{value * 1000:.0f} ms" for value in times if value is not None)
        rate = "" if row["wer"] is None else f"{row['wer']:.1%}"
        table.add_row(
            name, str(row["clips"]), f"{row['seconds']:.0f}", str(row["words"]), str(row["words_heard"]), rate, shown
        )
    console = Console(width=130)
    console.print(table)
    table = Table("speakers", "conversations", "seconds", "DER")
    for name, row in speakers.items():
        table.add_row(name, str(row["conversations"]), f"{row['seconds']:.0f}", f"{row['der']:.1%}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
