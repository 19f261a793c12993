"""`rayscribe`: what this machine can do, a Serve config for it, and the service itself."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from model_store.cache.node_cache import NodeCache
from model_store.cli.common import CACHE, STORE, CacheOption, StoreOption
from model_store.upkeep.doctor import Finding
from serve_app.serve_config import ConfigError

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, rich_markup_mode=None)
Refresh = Annotated[bool, Option("--refresh", help="Look at the hardware again; else what was found within the hour.")]


@app.command()
def doctor(
    config: Annotated[Path | None, Argument(help="A Serve config: is all there that it names?")] = None,
    store: StoreOption = STORE,
    cache: CacheOption = CACHE,
    refresh: Refresh = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look at this machine, the libraries, the model store and a config; exit code 1 where something cannot work."""
    from serve_app.hardware.doctor import examine

    machine, findings = examine(store, NodeCache(cache), config, refresh=refresh)
    if as_json:
        print(json.dumps({"machine": asdict(machine), "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        _show(findings)
    if any(each.state == "fail" for each in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table("", "", "found", box=None, pad_edge=False, show_header=False)
    for each in findings:
        mend = f"\n→ {each.mend}" if each.mend else ""
        found = Text(f"{each.text}{mend}")  # as it is: places in configs have brackets, which are markup to a table
        table.add_row(Text(each.state, COLOURS[each.state]), each.name, found)
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)


@app.command()
def config(
    for_this_machine: Annotated[bool, Option("--for-this-machine", help="By its cores, memory and GPUs.")] = False,
    demo: Annotated[bool, Option("--demo", help="With the demo models, which need no download.")] = False,
    out: Annotated[
        Path | None, Option(help="Where to write it; none: stdout. Beside models.yaml it is checked.")
    ] = None,
    cache: CacheOption = CACHE,
    refresh: Refresh = False,
) -> None:
    """Write a Serve config: the presets that fit, their compute_type, batch_size, replicas and share of a GPU."""
    from serve_app.hardware.machine import this_machine
    from serve_app.hardware.machine_config import base_for, config_for
    from serve_app.hardware.recommend import TooSmall

    if not for_this_machine:
        raise typer.BadParameter("say for which machine: --for-this-machine")
    machine = this_machine(cache, refresh=refresh)
    try:
        text = config_for(machine, base_for(machine, demo=demo))
        if out:
            out.write_text(text, "utf-8")
    except (TooSmall, ConfigError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out}: for {machine}" if out else text, nl=bool(out))


@app.command()
def serve(
    config: Annotated[
        Path | None, Argument(help="A Serve config; none: RAYSCRIBE_CONFIG, else configs/local.yaml")
    ] = None,
    dashboard: Annotated[
        bool,
        Option("--dashboard", help="With Ray's own, on 127.0.0.1:8265, which `serve status` and `serve deploy` need."),
    ] = False,
) -> None:
    """Check a config, fetch its models and serve it until told to stop; then answer what was asked."""
    from serve_app.start import main as start

    said = {"RAYSCRIBE_DASHBOARD": "1"} if dashboard else {}
    raise typer.Exit(start([str(config)] if config else [], {**os.environ, **said}))


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
