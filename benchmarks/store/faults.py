"""Faults: who notices a fetch that was killed, a flipped bit, a truncated and a missing file.

Noticed: an error, or files that are whole again. Unnoticed: a path is returned, and its files are not the model's.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.store.bench import Bench
from benchmarks.store.children import Served, measured, serving
from benchmarks.store.models import Model, model
from benchmarks.store.resume import killed_in
from benchmarks.store.server import COMMIT, REPO
from model_store import FetchOptions, ModelStoreError, NodeCache, Reference, fetch, verify
from model_store.files import hash_file

SIZE = 0.1e9
BIG = "model.bin"
FAULTS = ("killed", "bit flip", "truncation", "missing file")


def measure(bench: Bench, size: float = SIZE) -> dict[str, Any]:
    """For each fault what each way said: an error's name, `mended`, or `unnoticed`."""
    made = model(bench, size)
    with serving(made) as served:
        folder = bench.empty("faults")
        for way in ("ours", "hub"):
            _prepare(folder, made, served, way)
        return {
            name: {fault: _outcome(folder, made, fault, way, use) for fault in FAULTS}
            for name, (way, use) in _uses(made, served).items()
        }


def _prepare(folder: Path, made: Model, served: Served, way: str) -> None:
    """A cache for each fault."""
    order: dict[str, Any] = {"name": made.tagged, "store": served.store} if way == "ours" else {"hub": served.url}
    killed_in(folder / way / "killed", made.size // 2, served, way, **order)
    measured(way, cache=str(folder / way / "whole"), **order)
    for fault in FAULTS[1:]:
        shutil.copytree(folder / way / "whole", folder / way / fault, symlinks=True)
        _damage(folder / way / fault, made, fault)


def _uses(made: Model, served: Served) -> dict[str, tuple[str, Callable[[Path], Path]]]:
    return {
        "ours, offline": ("ours", partial(_offline, made)),
        "ours, offline, verify": ("ours", partial(_verified, made)),
        "ours, fetch": ("ours", partial(_fetched, made, served, deep=False)),
        "ours, fetch deep": ("ours", partial(_fetched, made, served, deep=True)),
        "snapshot_download, offline": ("hub", partial(_downloaded, served, offline=True)),
        "snapshot_download, online": ("hub", partial(_downloaded, served, offline=False)),
    }


def _outcome(folder: Path, made: Model, fault: str, way: str, use: Callable[[Path], Path]) -> str:
    """What one way says to a copy of a cache with a fault."""
    cache = folder / "used"
    shutil.copytree(folder / way / fault, cache, symlinks=True)
    try:
        path = use(cache)
        return "mended" if _is_whole(path, made) else "unnoticed"
    except Exception as error:  # noqa: BLE001 - which error is the figure
        return type(error).__name__
    finally:
        shutil.rmtree(cache)


def _damage(cache: Path, made: Model, fault: str) -> None:
    """Spoil the big file, by all of its names that are no links to it."""
    size = next(entry.size for entry in made.manifest.files if entry.path == BIG)
    for file in [path for path in cache.rglob("*") if path.is_file() and path.lstat().st_size == size]:
        if fault == "missing file":
            file.unlink()
            continue
        file.chmod(0o644)
        with file.open("r+b") as opened:
            if fault == "truncation":
                opened.truncate(size // 3)
            else:
                byte = os.pread(opened.fileno(), 1, size // 2)[0]
                os.pwrite(opened.fileno(), bytes([byte ^ 1]), size // 2)


def _is_whole(root: Path, made: Model) -> bool:
    with suppress(OSError):
        return all(hash_file(root / entry.path) == entry.sha256 for entry in made.manifest.files)
    return False


def _offline(made: Model, cache: Path) -> Path:
    """What is here, without a store."""
    found = NodeCache(cache).find(Reference.parse(made.tagged))
    return NodeCache(cache).snapshot_path(found.digest)


def _verified(made: Model, cache: Path) -> Path:
    """What is here, all bytes hashed; raises ModelStoreError for the first bad file."""
    path = _offline(made, cache)
    for problem in verify(NodeCache(cache), deep=True):
        raise ModelStoreError(str(problem), "")
    return path


def _fetched(made: Model, served: Served, cache: Path, *, deep: bool) -> Path:
    from model_store import open_store

    return fetch(made.tagged, open_store(served.store), NodeCache(cache), FetchOptions(deep=deep)).path


def _downloaded(served: Served, cache: Path, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    # No progress bars and no waiting: what is asked is on this machine.
    where: dict[str, Any] = {"revision": COMMIT, "endpoint": served.url, "cache_dir": str(cache)}
    return Path(snapshot_download(REPO, local_files_only=offline, **where))


def show(bench: Bench, results: dict[str, Any]) -> None:
    """One table."""
    table = Table("case", *FAULTS, "noticed", title="Faults noticed", title_justify="left")
    for name, outcomes in results.items():
        noticed = sum(outcome != "unnoticed" for outcome in outcomes.values())
        table.add_row(name, *(outcomes[fault] for fault in FAULTS), f"{noticed} of {len(FAULTS)}")
    bench.console.print(table)
