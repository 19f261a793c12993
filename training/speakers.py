"""Train the demo diarization pipeline: `python -m training.speakers --minutes 80 --out demo/models/diarization`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"  # before pyannote is imported

import numpy as np
import torch

from training.speakers_data import Pool, make_speakers
from training.speakers_embedding import embed_speakers, train_embedding
from training.speakers_files import fit_plda, save_pipeline
from training.speakers_segmentation import train_segmentation
from training.speakers_tuning import tune

SEED = 11
EMBEDDING_SHARE = 0.2
"""Of the time."""


def main() -> None:
    """Train both networks within the minutes given (recordings and the choice of clustering come on top)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--out", type=Path, default=Path("demo/models/diarization"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    train(options.out, options.minutes * 60)


def train(folder: Path, seconds: float) -> None:
    """Record the speakers, train the embedding, then the segmenter, and choose the clustering on unseen voices."""
    rng = np.random.default_rng(SEED)
    pool = Pool(rng, make_speakers(rng))
    print(f"{len(pool.speakers)} speakers, {pool.seconds / 3600:.1f} h", flush=True)
    embedding = train_embedding(pool, seconds * EMBEDDING_SHARE, SEED)
    plda = fit_plda(*embed_speakers(embedding, pool))
    segmentation = train_segmentation(pool, embedding, seconds * (1 - EMBEDDING_SHARE), SEED + 1)
    save_pipeline(folder, embedding, segmentation, plda)
    tune(folder)


if __name__ == "__main__":
    main()
