"""What a process that holds a model does with memory that it frees; looked at in processes of their own."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Hashable, Sequence

import pytest

from serve_app import heap
from serve_app.batching import threaded
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(heap._glibc() is None, reason="needs glibc")
PROBE = """
import ctypes, os, resource, threading
from serve_app import heap

{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 100 << 20

def use():
    block = libc.malloc(ctypes.c_size_t(SIZE))
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

def work():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        use()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    {then}
    print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
PAGES = (100 << 20) // 4096


def probe(first: str = "", then: str = "", **environment: str) -> tuple[int, int]:
    """Return how many pages three uses of 100 MB were given by the kernel, and the memory that is held at last."""
    code = PROBE.format(first=first, then=then)
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    faults, held = map(int, said.stdout.split())
    return faults, held


@pytest.mark.parametrize("environment", [{"MALLOC_ARENA_MAX": "1"}, {}])
def test_what_is_freed_is_kept_in_whatever_thread(environment: dict[str, str]) -> None:
    faults, held = probe("assert heap.keep()", **environment)
    assert faults < PAGES / 100
    assert held > 100 << 20


def test_glibc_by_itself_takes_all_pages_anew() -> None:
    faults, held = probe(MALLOC_ARENA_MAX="1")
    assert faults > PAGES / 1000  # as many as fit into huge pages, where the kernel has them
    assert held < 100 << 20


def test_what_is_kept_is_given_back() -> None:
    _, held = probe("heap.keep()", "heap.give_back()", MALLOC_ARENA_MAX="1")
    assert held < 100 << 20


def test_what_the_environment_says_holds() -> None:
    _, held = probe("assert heap.keep()", MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_="1000000")
    assert held < 100 << 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    assert not heap.keep()
    heap.give_back()


def as_they_are(key: Hashable, items: Sequence[int]) -> Sequence[int]:
    return items


async def test_it_is_given_back_once_after_the_last_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[float, threading.Thread]] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def give_back() -> None:
        given.append((loop.time(), threading.current_thread()))
        loop.call_soon_threadsafe(done.set)

    monkeypatch.setattr(heap, "REST_S", 0.2)
    monkeypatch.setattr(heap, "give_back", give_back)
    monkeypatch.setattr(heap, "_release", None)
    (run,) = threaded(as_they_are)
    for _ in range(3):
        await run(None, [1])
    last = loop.time()
    await asyncio.wait_for(done.wait(), 10)
    ((when, where),) = given
    assert when >= last + 0.15
    assert where is not threading.current_thread()
