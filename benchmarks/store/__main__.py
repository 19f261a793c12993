"""Measure, print and save: `python -m benchmarks.store [PART…]`; without a part all of them."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import save
from benchmarks.store import cold, crowd, faults, loading, resume, verifying, warm
from benchmarks.store.bench import Bench

PARTS: dict[str, Any] = {
    "cold": cold,
    "warm": warm,
    "crowd": crowd,
    "verify": verifying,
    "resume": resume,
    "faults": faults,
    "load": loading,
}
Parts = Annotated[list[str] | None, typer.Argument(help=f"of: {', '.join(PARTS)}")]


def main(
    parts: Parts = None,
    work: Annotated[Path, typer.Option(help="where big files lie, up to 20 GB")] = Path(".rayscribe/bench"),
    scale: Annotated[float, typer.Option(help="of the big files' sizes")] = 1.0,
    rounds: Annotated[int, typer.Option(help="runs of each case")] = 3,
    sizes: Annotated[str, typer.Option(help="of Whisper, to be loaded")] = ",".join(Bench.sizes),
    cap: Annotated[float, typer.Option(help="MB/s of each connection where they are capped; 0: not measured")] = 80,
) -> None:
    """Measure, print and save. RAYSCRIBE_BENCH_S3: a real S3 server's endpoint, its keys in the AWS variables."""
    unknown = sorted(set(parts or ()) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no part {unknown[0]}; there are: {', '.join(PARTS)}")
    s3 = os.environ.get("RAYSCRIBE_BENCH_S3", "")
    bench = Bench(work.absolute(), scale, rounds, s3, cap * 1e6, sizes=tuple(sizes.split(",")))
    results: dict[str, Any] = {}
    for name in parts or PARTS:
        results[name] = PARTS[name].measure(bench)
        PARTS[name].show(bench, results[name])
    _clear(bench)
    save("_".join(["store", *(parts or ())]), {"scale": scale, "rounds": rounds, **results})


def _clear(bench: Bench) -> None:
    """Keep what the next run needs: published models and those to be loaded."""
    for path in bench.work.iterdir():
        if path.name not in ("stores", "models"):
            shutil.rmtree(path)


if __name__ == "__main__":
    typer.run(main)
