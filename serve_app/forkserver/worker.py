"""What a copy of the fork server does to become the worker that Ray started."""

import os
import runpy
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Request:
    """What the process that Ray started was given; `streams` are its standard input, output and error."""

    argv: Sequence[str]
    executable: str
    environment: dict[str, str]
    folder: str
    blocked: Sequence[int]
    group: int
    pid: int
    streams: Sequence[int] = ()


def take_place(request: Request) -> None:
    """Take on all that the kernel keeps of the process that asked, which still lives."""
    try:
        os.setpgid(0, request.group)
    except OSError:  # of another session; but not the server's either, since Ray ends a worker with its group
        os.setpgid(0, 0)
    with suppress(OSError):  # whom the kernel ends first when memory is short; Ray sets it from outside
        Path("/proc/self/oom_score_adj").write_text(Path(f"/proc/{request.pid}/oom_score_adj").read_text())
    for number, stream in enumerate(request.streams):
        os.dup2(stream, number)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, request.blocked)


def run(request: Request) -> None:
    """Run the script that Ray named, as Python would have."""
    sys.argv[:] = request.argv
    sys.path[0] = str(Path(request.argv[0]).parent)
    if random := sys.modules.get("numpy.random"):
        random.seed()  # Python's own is seeded anew in every copy
    if raylet := sys.modules.get("ray._raylet"):
        raylet.Config.initialize("")  # reads the environment again
    runpy.run_path(request.argv[0], run_name="__main__")
