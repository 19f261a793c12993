"""What every stage needs of its GPU, and what it has, as a table to read."""

from collections.abc import Iterable
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table

from model_store.publishing.catalog import Catalog
from serve_app.gpu_rules import Share
from serve_app.models.devices import CUDA_GB

COLUMNS = ("", "model", "weights", "CUDA", "work", "at work", "needs GB", "num_gpus", "has GB", "least")


def table(shares: Iterable[Share], catalog: Catalog | None) -> str:
    """Write a line for each stage that reserves a GPU; empty when none does."""
    rows = [_row(share, catalog) for share in shares]
    if not rows:
        return ""
    found = Table(*COLUMNS, box=box.SIMPLE, pad_edge=False)
    for column in found.columns[2:]:
        column.justify = "right"
    for row in rows:
        found.add_row(*row)
    text = StringIO()
    Console(file=text, width=160).print(found)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip("\n") + "\n"


def _row(share: Share, catalog: Catalog | None) -> list[str]:
    models = getattr(share.args, "model", None) or ", ".join(getattr(share.args, "models", {}).values())
    start, room = [f"{share.app} {share.deployment}", models], min(share.num_gpus, 1) * (share.device_gb or 0)
    need = share.need(catalog)
    if need is None:
        return [*start, "unknown: give memory_mb in models.yaml", "", "", "", "", f"{share.num_gpus:g}", f"{room:.1f}"]
    parts = [f"{need.weights:.2f}", f"{CUDA_GB:.1f}", need.work_text, need.windows_text]
    least = need.smallest_share(share.device_gb) if share.device_gb else None
    fits = "" if need.total <= room else "  too little"
    return [
        *start,
        *parts,
        f"{need.total:.1f}",
        f"{share.num_gpus:g}",
        f"{room:.1f}{fits}",
        f"{least:g}" if least else "-",
    ]
