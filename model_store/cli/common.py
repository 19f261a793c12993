"""What every verb of the command line shares: the application and the options that mean the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

HELP = """Publish speech models once, fetch them anywhere as complete and verified directories.

\b
Exit codes:
  0  all is well
  1  verify found problems
  2  wrong usage, or a wrong catalog
  3  not published
  4  the store, the cache or the source failed

RAYSCRIBE_STORE and RAYSCRIBE_CACHE set the places (default: ./.rayscribe/store and ./.rayscribe/cache).
"""

app = typer.Typer(
    name="model-store",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
StoreOption = Annotated[str, typer.Option("--store", envvar="RAYSCRIBE_STORE", help="Directory or URL of the store.")]
CacheOption = Annotated[Path, typer.Option("--cache", envvar="RAYSCRIBE_CACHE", help="This machine's node cache.")]
CatalogOption = Annotated[Path, typer.Option("--catalog", help="Which models there are.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
STORE = "./.rayscribe/store"
CACHE = Path("./.rayscribe/cache")
