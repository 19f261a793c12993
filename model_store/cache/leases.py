"""Leases: files that say which processes use a snapshot, so that nobody evicts it under them.

leases/<digest>/<uuid>.json    the process; its mtime is the heartbeat, for those who cannot see the process

A process of this machine and container is asked for itself. Of another container, which shares the directory, only the
heartbeat is known: it counts as alive until that is stale. A lease that is lost costs no wrong byte: the files that a
process has open stay readable, and the next fetch brings the rest back.
"""

import atexit
import json
import logging
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from model_store.files import READ_ONLY, entries, make_directory
from model_store.processes import identity, is_gone
from model_store.references import is_digest

HEARTBEAT_S = 60.0
STALE_AFTER_S = 600.0
log = logging.getLogger(__name__)


class Lease:
    """This process uses a snapshot, from now until `release`, the end of a `with`, or its own end.

    `blobs`: the digests and sizes in bytes of what a fetch under way will need. A cache that cannot be written goes
    without.
    """

    def __init__(self, directory: Path, blobs: Mapping[str, int] | None = None, beat_s: float = HEARTBEAT_S) -> None:
        self.path = directory / f"{uuid.uuid4().hex}.json"
        self._pid = os.getpid()
        self._text = json.dumps(_description(blobs or {}))
        self._released = threading.Event()
        self._writing = threading.Lock()
        self._renew()
        atexit.register(self.release)
        threading.Thread(target=self._beat, args=(beat_s,), name="model-store lease", daemon=True).start()

    def release(self) -> None:
        """Use the snapshot no more; doing it twice does nothing, nor does a forked child that inherited the lease."""
        if os.getpid() != self._pid:
            return
        self._released.set()
        with self._writing, suppress(OSError):
            self.path.unlink(missing_ok=True)
        atexit.unregister(self.release)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _beat(self, every_s: float) -> None:
        while not self._released.wait(every_s):
            self._renew()

    def _renew(self) -> None:
        """Touch the file, and write it again if it is gone: someone may have taken a paused process for dead."""
        with self._writing:
            if self._released.is_set():
                return
            try:
                os.utime(self.path)
            except OSError:
                _write(self.path, self._text)


@dataclass(frozen=True)
class Holder:
    """A process that uses a snapshot: where its lease is, and what it said of itself."""

    path: Path
    pid: int = 0
    host: str = ""
    program: str = ""
    here: bool = False
    blobs: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.program or 'a process'} (pid {self.pid} on {self.host})"


def holders(root: Path) -> dict[str, list[Holder]]:
    """The living holders of each snapshot of the cache at `root`."""
    found: dict[str, list[Holder]] = {}
    for path, holder in _leases(root):
        if holder is not None:
            found.setdefault(path.parent.name, []).append(holder)
    return found


def dead_leases(root: Path) -> list[Path]:
    """The leases whose process is gone."""
    return [path for path, holder in _leases(root) if holder is None]


def remove_dead(root: Path) -> None:
    """Remove the leases whose process is gone."""
    for path in dead_leases(root):
        with suppress(OSError):
            path.unlink()


def _leases(root: Path) -> Iterator[tuple[Path, Holder | None]]:
    """Each lease with its holder, None if dead."""
    for folder in entries(root / "leases"):
        for path in entries(folder) if is_digest(folder.name) else []:
            if path.suffix == ".json":
                with suppress(FileNotFoundError):
                    yield path, _living(path)


def _living(path: Path) -> Holder | None:
    """The holder unless it is gone, or cannot be seen and has been silent for long."""
    age_s = time.time() - path.stat().st_mtime
    try:
        said = json.loads(path.read_text())
        gone = is_gone(said["process"])
        holder = _holder(path, said)
    except (ValueError, KeyError, TypeError, AttributeError):
        gone, holder = None, Holder(path)  # being written just now, or of another version
    if gone is None:
        gone = age_s > STALE_AFTER_S
    return None if gone else holder


def _holder(path: Path, said: dict[str, Any]) -> Holder:
    process = said["process"]
    blobs = {str(digest): int(size) for digest, size in said["blobs"].items()}
    here = process == identity(os.getpid())
    return Holder(path, process["pid"], str(said["host"]), str(said["program"]), here, blobs)


def _description(blobs: Mapping[str, int]) -> dict[str, Any]:
    program = Path(sys.argv[0] if sys.argv else "").name
    return {"process": identity(os.getpid()), "host": platform.node(), "program": program, "blobs": dict(blobs)}


def _write(path: Path, text: str) -> None:
    """Write a lease; its directory may be removed at the very moment, so twice more."""
    for _ in range(3):
        try:
            make_directory(path.parent)
            path.write_text(text)
            path.chmod(0o644)
            return
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in READ_ONLY:
                log.warning("%s cannot be written, so the snapshot may be evicted while it is used: %s", path, error)
            return
