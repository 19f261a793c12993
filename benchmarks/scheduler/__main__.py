"""Measure how windows are scheduled: `python -m benchmarks.scheduler [PART…]`; without a part all of them.

crowd     64 clips of 10 s at once, against one after another, and against whisperx in process
fairness  a clip beside a long file, against an idle service
overlap   a long file's wall time against its longest stage
overhead  what of a lone clip's latency is no model's
fanout    a long file on one and on two replicas of one thread
simulated the same scheduler over 1 to 64 replicas that only take time
memory    the pipeline's memory for 10 minutes, 1 hour and 10 hours
voices    the memory of telling speakers at the end of 2 and 10 hours
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.pretty import pprint

from benchmarks.common import save, service
from benchmarks.scheduler import fanout, memory, served, simulated, voices

SERVED = ("crowd", "fairness", "overlap", "overhead")
PARTS = (*SERVED, "fanout", "simulated", "memory", "voices")


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"of: {', '.join(PARTS)}")] = None,
    url: Annotated[str | None, typer.Option(help="a running service; none: configs/local.yaml is started")] = None,
    clips: int = 64,
    minutes: Annotated[float, typer.Option(help="of the long file")] = 10,
    runs: Annotated[int, typer.Option(help="clips per case")] = 30,
    rounds: Annotated[int, typer.Option(help="runs of what takes long")] = 3,
    size: Annotated[str, typer.Option(help=f"of fanout's model: {', '.join(fanout.SIZES)}")] = fanout.SIZES[0],
    share: Annotated[float, typer.Option(min=0.1, max=1, help="of a core that each of fanout's replicas gets")] = 1,
    work: Annotated[Path, typer.Option(help="where long files lie")] = Path(".rayscribe/long"),
) -> None:
    """Measure, print and save."""
    unknown = sorted(set(parts or ()) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no part {unknown[0]}; there are: {', '.join(PARTS)}")
    if size not in fanout.SIZES:
        raise typer.BadParameter(f"no size {size}; there are: {', '.join(fanout.SIZES)}")
    wanted = parts or list(PARTS)
    results: dict[str, Any] = {}
    if set(wanted) & set(SERVED):
        with service(url) as base:
            ways: dict[str, Callable[[], Any]] = {
                "crowd": lambda: served.crowd(base, clips, rounds),
                "fairness": lambda: served.fairness(base, minutes, runs),
                "overlap": lambda: served.overlap(base, minutes, rounds),
                "overhead": lambda: served.overhead(base, runs),
            }
            results |= {name: ways[name]() for name in wanted if name in ways}
    rest: dict[str, Callable[[], Any]] = {
        "fanout": lambda: fanout.measure(minutes, rounds, size, share),
        "simulated": simulated.measure,
        "memory": lambda: memory.measure(work.absolute()),
        "voices": voices.measure,
    }
    results |= {name: rest[name]() for name in wanted if name in rest}
    console = Console(width=120)
    if "simulated" in results:
        simulated.show(console, results["simulated"])
    pprint(results, console=console, expand_all=True)
    save("_".join(["scheduler", *(parts or ())]), results)


if __name__ == "__main__":
    typer.run(main)
