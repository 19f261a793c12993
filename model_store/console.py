"""What the command line prints: JSON for programs, tables and a progress bar for people."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from model_store.errors import ModelStoreError
from model_store.progress import Progress


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_error(error: ModelStoreError, *, as_json: bool) -> None:
    """An error on standard error; for programs also as a document on standard output."""
    if as_json:
        print_json({"error": type(error).__name__, "problem": error.problem, "mend": error.mend, **error.details})
    print(f"error: {error.problem}", file=sys.stderr)
    if error.mend:
        print(f"  {error.mend}", file=sys.stderr)


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table without frames; what is piped is not cut to a terminal's width."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def human_size(count: int) -> str:
    """Bytes as people read them: 1234567 is 1.2 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar with rate on standard error if that is a terminal; yields what to call with (done, total)."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
