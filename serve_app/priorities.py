"""Who goes first where cores are scarce: on Linux a thread has its own niceness, which those it starts inherit.

Plumbing and short requests have Ray's workers' own (0 of ours, see `own_ray`); what loads models and computes for long
files steps back. It is of use within one machine or container only, and does no harm elsewhere.
"""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")
MODELS = 5
"""What loads models, and CTranslate2's threads, which serve short and long requests alike."""
BACKGROUND = 5
"""What computes for long files alone."""


def step_back(by: int) -> None:
    """Let others go before this thread, for good: no unprivileged process may take it back."""
    if by and sys.platform == "linux":
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + by)


def threads(count: int, name: str, by: int = 0) -> ThreadPoolExecutor:
    """Return an executor whose threads step back."""
    return ThreadPoolExecutor(count, name, initializer=step_back, initargs=(by,))


def stepped_back(work: Callable[[], T]) -> T:
    """Do what loads a model in a thread that steps back, and with it all threads that the libraries start there."""
    with threads(1, "load", MODELS) as executor:
        return executor.submit(work).result()


@cache
def background() -> ThreadPoolExecutor:
    """Return this process's threads for what long files can wait for."""
    return threads(min(32, 4 + (os.cpu_count() or 1)), "background", BACKGROUND)
