"""Make the demo Whisper: data, training, export. Resumes where it was stopped; the log goes to the standard output."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from torch import multiprocessing

from training.whisper import make_data
from training.whisper.data import write_shard
from training.whisper.export import export
from training.whisper.train import start, train

DEV_SEED = 777


def main() -> None:
    """Parse the command line and do all steps that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m training.whisper", description=__doc__)
    parser.add_argument("--minutes", type=float, default=55, help="training time, without making the data")
    parser.add_argument("--workers", type=int, default=2, help="processes with one thread each")
    parser.add_argument("--shards", type=int, default=30, help="training data, in units of 1.4 hours")
    parser.add_argument("--work", type=Path, default=Path("training/work/whisper"))
    parser.add_argument("--out", type=Path, default=Path("demo/models/whisper"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # of the workers that are spawned
    prepare(options.work, options.shards, options.workers)
    multiprocessing.spawn(train, (start(options.work), options.work, options.minutes * 60), options.workers)
    export(options.work / "checkpoint.pt", options.out)


def prepare(folder: Path, shards: int, workers: int) -> None:
    """Make the data that is not there yet."""
    make_data.load_pool(folder / "shards" / make_data.POOL, 3000)
    write_shard(folder / "dev" / "shard_000", DEV_SEED, 300)
    multiprocessing.spawn(make_data.write_every, (folder / "shards", shards, workers), workers)


if __name__ == "__main__":
    main()
