"""Measure a diarization pipeline on held-out voices: `python -m training.evaluate_speakers demo/models/diarization`."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # before pyannote is imported

import torch
from pyannote.audio import Pipeline
from pyannote.core import Annotation

from training.speakers_scoring import Case, error_rates, make_cases
from training.speech import HELD_OUT_VARIANTS

SEED = 77
COLLARS_S = (0.25, 0.125, 0.0)
"""On either side of a turn's ends; pyannote.metrics' own `collar` counts both sides together."""


def main() -> None:
    """Print the diarization error rate by number of speakers, which the pipeline is not told, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--conversations", type=int, default=15, help="for each number of speakers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained(options.model)
    cases = held_out_cases(options.conversations)
    found = {case.file["uri"]: pipeline(case.file).speaker_diarization for case in cases}
    for collar in COLLARS_S:
        rates = error_rates(cases, lambda case: found[case.file["uri"]], collar)
        print(json.dumps({"collar_s": collar, "der": {k: round(v, 4) for k, v in rates.items()}}))
    print(json.dumps({"speakers_found": counts(cases, found)}))


def held_out_cases(count: int) -> list[Case]:
    """Conversations of one to four of the held-out voices in held-out sentences."""
    return [case for speakers in (1, 2, 3, 4) for case in make_cases(SEED, HELD_OUT_VARIANTS, speakers, count, True)]


def counts(cases: list[Case], found: dict[str, Annotation]) -> dict[int, dict[int, int]]:
    """For each true number of speakers, how often each number was found."""
    table: dict[int, Counter[int]] = {}
    for case in cases:
        table.setdefault(case.speakers, Counter())[len(found[case.file["uri"]].labels())] += 1
    return {speakers: dict(sorted(counter.items())) for speakers, counter in table.items()}


if __name__ == "__main__":
    main()
