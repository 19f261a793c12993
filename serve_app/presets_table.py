"""What each preset gives and takes, in one table: `python -m serve_app.presets_table [FILE …]`.

Models and stages are those of the Serve config, weights those of the catalog's manifests, a GPU's need that of
`memory_need`. Speed and error were measured by us, with the command that measures them, or published by the models'
makers, which is what to expect; no number is anybody's guess. `LEVELS` says what `basic` and `advanced` alignment mean
to a user.
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
    "fast": Measured("59 ×", NOT_MEASURED, "README, benchmarks.latency: 10 s of text only in 169 ms"),
    "high": Measured(
        "29 ×",
        "0.0 to 0.4 %",
        "README, benchmarks.latency: 10 s with words and speakers in 350 ms; benchmarks.accuracy, demo vocabulary",
    ),
}
"""Of `configs/local.yaml`'s presets with the demo models, on 2 CPU threads; the others were not measured."""
LARGE_SPEED = 46
"""Seconds of audio a second: 13 minutes in 17 s by large-v2 in float16, 8 windows at once, on an RTX 3070 Ti, as
faster-whisper's README has it."""
PUBLISHED = {
    "tiny": (10, "7.5 %"),
    "base": (7, "5.0 %"),
    "small": (4, "3.4 %"),
    "medium": (2, "2.9 %"),
    "large-v3": (1, "2.0 %"),
}
"""Whisper → how much quicker than large (openai-whisper's README), and errors on LibriSpeech test-clean (the models'
pages on the hub; large-v3: the Open ASR Leaderboard)."""
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
    names = tuple(Reference.parse(model).name for model in args.models())
    own = [catalog.entries[name] for name in names if name in catalog.entries]
    on_gpu = [stage for stage in (args.transcription, args.alignment, args.diarization) if stage and _on_gpu(stage)]
    needs = [need.total for stage in on_gpu if (need := need_of(stage, catalog))]
    speakers = args.diarization is not None and args.preset in ("high", "premium")
    return Row(
        args.preset,
        names,
        ", ".join(_gives(args, speakers)),
        sum(entry.memory_mb for entry in own),
        sum(needs) if needs else None,
        _figures(args.preset, names),
    )


def _figures(preset: str, models: Sequence[str]) -> Measured:
    if all(name.startswith("demo-") for name in models):
        return DEMO.get(preset, UNKNOWN)
    size = models[0].removeprefix("whisper-").removesuffix("-int8")
    if size not in PUBLISHED:
        return UNKNOWN
    quicker, error = PUBLISHED[size]
    return Measured(
        f"{LARGE_SPEED * quicker} ×",
        error,
        f"published: text only on an RTX 3070 Ti, {quicker} × large's speed; LibriSpeech test-clean",
    )


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
