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
from training.speakers_files import save_config
from training.speakers_scoring import Case, error_rates, make_cases

SEED = 23
CLUSTERING = "AgglomerativeClustering"
GRID = [
    {"method": "centroid", "min_cluster_size": size, "threshold": threshold}
    for size, threshold in product((2, 3, 4), (0.6, 0.7, 0.8, 0.9, 1.0, 1.1))
]
Result = tuple[float, dict[str, Any]]


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


def tune(folder: Path, cases_each: int = 8) -> None:
    """Write the config with the best clustering; the error counted is the mean over 1 to 4 speakers."""
    cases = [case for speakers in (1, 2, 3, 4) for case in make_cases(SEED, DEV_VARIANTS, speakers, cases_each, False)]
    rerunner = Rerunner(folder)
    rerunner.hear(cases)
    _, best = min((_measure(rerunner, parameters, cases) for parameters in GRID), key=lambda result: result[0])
    print("chosen:", best, flush=True)
    save_config(folder, CLUSTERING, pipeline_parameters(best))


def _measure(rerunner: Rerunner, parameters: dict[str, Any], cases: Sequence[Case]) -> Result:
    rerunner.set(parameters)
    rates = error_rates(cases, rerunner)
    print(parameters, {speakers: round(rate, 4) for speakers, rate in rates.items()}, flush=True)
    return float(np.mean(list(rates.values()))), parameters


def pipeline_parameters(clustering: dict[str, Any]) -> dict[str, Any]:
    """The whole pipeline's parameters around those of the clustering."""
    return {"segmentation": {"min_duration_off": 0.0}, "clustering": clustering}


def _copy(segmentations: Any) -> Any:
    return type(segmentations)(segmentations.data.copy(), segmentations.sliding_window)
