"""Choose the clustering of the demo pipeline on voices that neither training nor tests use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pyannote.audio import Pipeline
from pyannote.core import Annotation

from training.speakers_data import DEV_VARIANTS
from training.speakers_files import save_config, set_pitch_share
from training.speakers_scoring import Case, error_rates, make_cases, make_twin_cases

SEED = 23
CLUSTERING = "AgglomerativeClustering"
GRID = [
    {"method": "centroid", "min_cluster_size": size, "threshold": threshold}
    for size, threshold in product((3, 4, 6), (0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8))
]
PITCH_SHARES = (0.45, 0.6, 0.75)
HARDLY_MORE = 0.005
Result = tuple[float, float, dict[str, Any]]
"""The error rate, the share of pitch, and the parameters of the clustering."""


class Rerunner:
    """The pipeline in `folder`, which hears each case once and then only clusters anew."""

    def __init__(self, folder: Path) -> None:
        save_config(folder, CLUSTERING, pipeline_parameters(GRID[0]))
        self.pipeline = Pipeline.from_pretrained(folder)
        self._heard: dict[str, tuple[Any, Any]] = {}

    def hear(self, cases: Sequence[Case]) -> None:
        """Run both networks on each case."""
        for case in cases:
            segmentations = self.pipeline.get_segmentations(case.file)
            embeddings = self.pipeline.get_embeddings(case.file, segmentations, exclude_overlap=True)
            self._heard[case.file["uri"]] = (segmentations, embeddings)

    def set(self, parameters: dict[str, Any]) -> None:
        """Take parameters of the clustering."""
        self.pipeline.instantiate(pipeline_parameters(parameters))

    def __call__(self, case: Case) -> Annotation:
        """Cluster, with what was heard in place of the networks."""
        segmentations, embeddings = self._heard[case.file["uri"]]
        self.pipeline.get_segmentations = lambda *_, **__: _copy(segmentations)
        self.pipeline.get_embeddings = lambda *_, **__: embeddings.copy()
        return self.pipeline(case.file).speaker_diarization


def tune(folder: Path, cases_each: int = 12) -> None:
    """Keep the share of pitch in the embedding, and the clustering, with which few errors are made.

    The error counted is the mean over 1 to 4 speakers of different timbres and over 2 to 4 of whom two share theirs.
    """
    usual = [case for speakers in (1, 2, 3, 4) for case in make_cases(SEED, DEV_VARIANTS, speakers, cases_each, False)]
    twins = [case for speakers in (2, 3, 4) for case in make_twin_cases(SEED, DEV_VARIANTS, speakers, cases_each)]
    results = [result for share in PITCH_SHARES for result in _try_share(folder, share, usual, twins)]
    rate, share, parameters = choose(results)
    print("chosen:", share, parameters, rate, flush=True)
    set_pitch_share(folder, share)
    save_config(folder, CLUSTERING, pipeline_parameters(parameters))


def choose(results: Sequence[Result]) -> Result:
    """Of all that err hardly more than the best, the one that finds the fewest speakers: one voice is not to be two."""
    best = min(rate for rate, _, _ in results)
    good = [result for result in results if result[0] <= best + HARDLY_MORE]
    return max(good, key=lambda result: (result[2]["threshold"], result[2]["min_cluster_size"]))


def _try_share(folder: Path, share: float, *groups: Sequence[Case]) -> list[Result]:
    set_pitch_share(folder, share)
    rerunner = Rerunner(folder)
    for cases in groups:
        rerunner.hear(cases)
    return [(_measure(rerunner, share, parameters, *groups), share, parameters) for parameters in GRID]


def _measure(rerunner: Rerunner, share: float, parameters: dict[str, Any], *groups: Sequence[Case]) -> float:
    rerunner.set(parameters)
    rates = [error_rates(cases, rerunner) for cases in groups]
    rounded = [{speakers: round(rate, 4) for speakers, rate in group.items()} for group in rates]
    print(share, parameters, rounded, flush=True)
    return float(np.mean([rate for group in rates for rate in group.values()]))


def pipeline_parameters(clustering: dict[str, Any]) -> dict[str, Any]:
    """The whole pipeline's parameters around those of the clustering."""
    return {"segmentation": {"min_duration_off": 0.0}, "clustering": clustering}


def _copy(segmentations: Any) -> Any:
    return type(segmentations)(segmentations.data.copy(), segmentations.sliding_window)
