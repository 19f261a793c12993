"""Locks that save bytes: the kernel's, or where that keeps nobody out, a file that its holder keeps touching.

No byte's being right depends on them.
"""

import fcntl
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, SoftReadWriteLock, Timeout

log = logging.getLogger(__name__)
WAITING_S = 0.2
HEARTBEAT_S, STALE_S = 3.0, 10.0


def acquire(held: ExitStack, path: Path, timeout_s: float, waiting: Callable[[], bool]) -> bool:
    """Have the lock at `path` until `held` is closed; says whether it was had before `waiting` said enough.

    Raises Timeout after `timeout_s`; `waiting` is called five times a second until then, and true means enough. The
    kernel frees its lock when the holder dies; the other kind is taken over once it has not been touched for `STALE_S`.
    """
    until = time.monotonic() + timeout_s
    lock = FileLock(path, mode=0o666)
    if not _insist(lambda wait_s: lock.acquire(timeout=wait_s, poll_interval=WAITING_S), until, waiting):
        return False
    held.callback(lock.release)
    if _keeps_others_out(path):
        return True
    log.warning("locks on %s keep nobody out: files that are kept up to date are used instead", path.parent)
    soft = SoftReadWriteLock(path, is_singleton=False, heartbeat_interval=HEARTBEAT_S, stale_threshold=STALE_S)
    if not _insist(lambda wait_s: soft.acquire_write(timeout=wait_s), until, waiting):
        return False
    held.callback(soft.release)
    return True


def _insist(take: Callable[[float], object], until: float, waiting: Callable[[], bool]) -> bool:
    while True:
        try:
            take(max(0.0, min(WAITING_S, until - time.monotonic())))
            return True
        except Timeout:
            if time.monotonic() >= until:
                raise
        if waiting():
            return False


def _keeps_others_out(held: Path) -> bool:
    """Whether a lock that is held is one: some network file systems grant it to everybody and say nothing.

    Another descriptor of the same file is another holder to flock.
    """
    with held.open("rb") as again:
        try:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
