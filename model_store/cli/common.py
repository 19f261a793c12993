"""What every verb of the command line shares: the application and the options that mean the same everywhere."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from model_store.sizes import parse_size

HELP = """Publish speech models once, fetch them anywhere as complete and verified directories.

\b
Exit codes:
  0  all is well
  1  verify or doctor found problems
  2  wrong usage, or a wrong catalog
  3  not published, or not in the cache
  4  the store, the cache or the source failed

RAYSCRIBE_STORE and RAYSCRIBE_CACHE set the places (default: ./.rayscribe/store and ./.rayscribe/cache),
RAYSCRIBE_CACHE_QUOTA how big the cache may grow (50GB, 50GiB or bytes; default: the disk).
"""
SECTIONS = {
    "A store": ["publish", "list", "show", "outdated", "copy", "bundle", "rm", "gc"],
    "This machine's cache": ["fetch", "pull", "path", "du", "pin", "unpin", "hub-view"],
    "A Ray cluster": ["warm"],
    "Health": ["verify", "repair", "doctor"],
    "Signatures": ["keygen", "sign", "verify-signature"],
}


class Sections(TyperGroup):
    """Verbs in the order in which they are needed, below headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each section; a verb that is in none comes last."""
        listed = [verb for verbs in SECTIONS.values() for verb in verbs]
        others = {"More": [verb for verb in self.list_commands(ctx) if verb not in listed]}
        for heading, verbs in {**SECTIONS, **others}.items():
            commands = [(verb, self.get_command(ctx, verb)) for verb in verbs]
            rows = [(verb, command.get_short_help_str(150)) for verb, command in commands if command is not None]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="model-store",
    cls=Sections,
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
StoreOption = Annotated[str, typer.Option("--store", envvar="RAYSCRIBE_STORE", help="Directory or URL of the store.")]
CacheOption = Annotated[Path, typer.Option("--cache", envvar="RAYSCRIBE_CACHE", help="This machine's node cache.")]
QuotaOption = Annotated[
    int | None,
    typer.Option(
        "--quota",
        envvar="RAYSCRIBE_CACHE_QUOTA",
        parser=parse_size,
        metavar="SIZE",
        help="How big the node cache may grow: 50GB, 50GiB or bytes.",
    ),
]
CachedOption = Annotated[bool, typer.Option("--cached", help="The node cache instead of the store.")]
CatalogOption = Annotated[Path, typer.Option("--catalog", help="Which models there are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
STORE = "./.rayscribe/store"
CACHE = Path("./.rayscribe/cache")
