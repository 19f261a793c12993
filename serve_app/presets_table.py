"""What each preset gives and takes, in one table: `python -m serve_app.presets_table [FILE …]`.

Models and stages are those of the Serve config, weights those of the catalog's manifests, a GPU's need that of
`memory_need`. Speed and error stand there only where they were measured, with the command that measures them; no
number is anybody's guess. `LEVELS` says what `basic` and `advanced` alignment mean to a user.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from model_store.publishing.catalog import Catalog
from model_store.references import Reference
from serve_app.config import PresetArgs
from serve_app.memory_need import need_of
from serve_app.serve_config import ConfigError, load_serve_config

LEVELS = {
    "basic": "start, end and score of each word",
    "advanced": "those of each character too (`chars`); the same times whatever else is in the batch; "
    "a score for each word and character",
}
ALIGNMENT = {"fast": "basic", "balanced": "basic", "high": "advanced", "premium": "advanced"}
"""What each preset is made for; one of another name is `basic`."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Measured:
    """Speed in seconds of audio a second, word error rate in percent, and where both are from."""

    speed: str
    error: str
    source: str


DEMO = {
    "fast": Measured("62 ×", NOT_MEASURED, "README, benchmarks.latency: 10 s of text only in 162 ms"),
    "high": Measured(
        "32 ×",
        "0.0 to 0.4 %",
        "README, benchmarks.latency: 10 s with words and speakers in 315 ms; benchmarks.accuracy, demo vocabulary",
    ),
}
"""Of `configs/local.yaml`'s presets with the demo models, on 2 CPU threads; the others were not measured."""
UNKNOWN = Measured(NOT_MEASURED, NOT_MEASURED, "measure it: benchmarks.latency --url …, benchmarks.accuracy --url …")


@dataclass(frozen=True, slots=True)
class Row:
    """One preset: its models, what it gives, the MB of its own weights, the GB of a GPU, and what was measured."""

    preset: str
    models: tuple[str, ...]
    gives: str
    weights_mb: int
    gpu_gb: float | None
    measured: Measured


def rows(config: Path) -> list[Row]:
    """Return a row for each preset of a Serve config; raises ConfigError."""
    checked = load_serve_config(config)
    if checked.catalog is None:
        raise ConfigError([f"{config}: there is no models.yaml beside it, which tells what models weigh"])
    return [_row(args, checked.presets, checked.catalog) for args in checked.presets.values()]


def _row(args: PresetArgs, presets: dict[str, PresetArgs], catalog: Catalog) -> Row:
    names = tuple(Reference.parse(model).name for model in _models(args))
    own = [catalog.entries[name] for name in names if name in catalog.entries]
    on_gpu = [stage for stage in (args.transcription, args.alignment, args.diarization) if stage and _on_gpu(stage)]
    needs = [need.total for stage in on_gpu if (need := need_of(stage, catalog))]
    demo = all(name.startswith("demo-") for name in names)
    speakers = args.diarization is not None and args.preset in ("high", "premium")
    return Row(
        args.preset,
        names,
        ", ".join(_gives(args, speakers)),
        sum(entry.memory_mb for entry in own),
        sum(needs) if needs else None,
        DEMO.get(args.preset, UNKNOWN) if demo else UNKNOWN,
    )


def _models(args: PresetArgs) -> Iterator[str]:
    yield args.transcription.model
    if args.alignment:
        yield from args.alignment.models.values()
    if args.diarization and args.diarization.model:
        yield args.diarization.model


def _on_gpu(stage: object) -> bool:
    return getattr(stage, "device", "") == "cuda" and not getattr(stage, "app", None)


def _gives(args: PresetArgs, speakers: bool) -> Iterator[str]:
    yield f"text by {args.transcription.backend}"
    if args.alignment:
        yield f"{ALIGNMENT.get(args.preset, 'basic')} alignment"
    if speakers:
        yield "speakers"


def _print(config: Path) -> None:
    table = Table("preset", "its own models", "gives", "weights MB", "GPU GB", "speed", "word errors", "from")
    table.title = str(config)
    for row in rows(config):
        gpu = "–" if row.gpu_gb is None else f"{row.gpu_gb:.1f}"
        told = (row.measured.speed, row.measured.error, row.measured.source)
        table.add_row(row.preset, "\n".join(row.models), row.gives, str(row.weights_mb), gpu, *told)
    console = Console(width=170)
    console.print(table)
    for level, meaning in LEVELS.items():
        console.print(f"{level} alignment: {meaning}")
    console.print("weights: manifests (models.yaml). GPU: the formula of serve_app/memory_need.py, not measured.")


def main(arguments: Sequence[str]) -> int:
    """Print the table of each config; returns the exit status."""
    try:
        for config in [Path(each) for each in arguments] or [Path("configs/local.yaml"), Path("configs/gpu.yaml")]:
            _print(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
