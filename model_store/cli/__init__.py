"""`model-store`: one file for each kind of verb; a new one is imported here."""

import os
import sys

from model_store.cli import bundling, fetching, looking, pruning, publishing, pulling, signing, tending, warming
from model_store.cli.common import app
from model_store.console import print_error
from model_store.errors import ModelStoreError

VERBS = (bundling, fetching, looking, pruning, publishing, pulling, signing, tending, warming)
"""Importing them registers them."""
__all__ = ["VERBS", "app", "main"]


def main() -> None:
    """Run the command line."""
    try:
        app()
    except ModelStoreError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
