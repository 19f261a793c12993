"""glibc's heap in a process that holds a model: what a batch frees is kept for the next one, and given back at rest.

By itself glibc hands each large block back to the kernel at once, which clears its pages and maps them anew for the
next layer: a third of the time that CTranslate2 and torch take on a processor. One arena has to do for all threads
(`MALLOC_ARENA_MAX=1`, best set for the whole process), as only the first one holds large blocks. Other C libraries are
left alone.
"""

import asyncio
import ctypes
import os
from functools import cache
from typing import Any

SETTINGS = {
    "MALLOC_ARENA_MAX": (-8, 1),
    "MALLOC_MMAP_THRESHOLD_": (-3, 1 << 30),
    "MALLOC_TRIM_THRESHOLD_": (-1, (1 << 31) - 1),
}
"""Variable by which glibc is told the same → parameter of mallopt(3), and value: a number of arenas, bytes, bytes."""
REST_S = 60.0
"""After so long without a batch the memory goes back; to take it again costs the next batch some 0.1 s."""
_release: asyncio.TimerHandle | None = None


def keep() -> bool:
    """Have this process keep what it frees; what the environment says of glibc's heap holds. Tell whether it does."""
    library = _glibc()
    return library is not None and all(
        library.mallopt(*setting) for name, setting in SETTINGS.items() if name not in os.environ
    )


def in_use() -> None:
    """Say on the event loop that a batch begins: what is free is given back when none has for `REST_S`."""
    global _release
    loop = asyncio.get_running_loop()
    if _release:
        _release.cancel()
    _release = loop.call_later(REST_S, lambda: loop.run_in_executor(None, give_back))


def give_back() -> None:
    """Hand free pages back to the kernel."""
    if library := _glibc():
        library.malloc_trim(0)


@cache
def _glibc() -> Any:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
