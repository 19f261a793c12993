"""Start a fork server: its socket is there at once, and whoever asks meanwhile waits."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext

LATER = ("serve_app.forkserver.preload:alignment", "serve_app.forkserver.preload:diarization")
BY_RAY = {"RAY_CLIENT_MODE": "0"}
"""What Ray adds to its workers' environment."""
OF_NO_JOB = "ffffffff"
"""What workers that Ray starts ahead of any job have for one: they can be any job's."""
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""Libraries start no threads while they are imported, and leave GPUs alone. Models are told their threads."""


def start(place: str, parent: int, later: tuple[str, ...] = LATER, log: str | None = None) -> "subprocess.Popen[bytes]":
    """Start a server at a place; it ends with the process `parent`.

    Args:
        place: where its socket is to be.
        parent: whose end is that of all workers, too: the node's raylet, or the service's process.
        later: functions of `preload`, what it imports when it is already of use.
        log: what it writes to if it outlives this process, whose streams it has otherwise.

    """
    environment = {**BY_RAY, "RAY_RAYLET_PID": str(parent), **os.environ, **QUIET, "RAY_JOB_ID": OF_NO_JOB}
    with socket.socket(socket.AF_UNIX) as listening, open(log, "ab") if log else nullcontext() as streams:
        listening.bind(place)
        listening.listen(128)
        return subprocess.Popen(
            [sys.executable, "-m", "serve_app.forkserver", str(listening.fileno()), str(parent), *later],
            pass_fds=[listening.fileno()],
            env=environment,
            start_new_session=bool(log),
            stdin=subprocess.DEVNULL,
            stdout=streams,
            stderr=streams,
        )
