"""The fork server of a service that starts its own Ray."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve_app.forkserver.hook import READY, VARIABLE
from serve_app.forkserver.starting import start


@dataclass(frozen=True, slots=True)
class ForkServer:
    """A running server, by its process and the place of its socket."""

    pid: int
    place: str

    def wait(self) -> bool:
        """Wait until it has imported all that it was told to; False where it is gone."""
        nothing = b"{}"
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(self.place)
                server.sendall(len(nothing).to_bytes(4, "big") + nothing)
                return server.recv(1) == READY
        except OSError:
            return False


@contextmanager
def fork_server(later: Sequence[str] = ()) -> Iterator[ForkServer]:
    """Have the workers of the Ray that this process starts next be copies of one process, which ends with the block.

    Args:
        later: functions of `preload`, what it imports when it is already of use.

    """
    folder = tempfile.mkdtemp(prefix="rayscribe-")
    place = str(Path(folder) / "forks")
    child = start(place, os.getpid(), tuple(later))
    os.environ[VARIABLE] = place
    try:
        yield ForkServer(child.pid, place)
    finally:
        os.environ.pop(VARIABLE, None)
        child.kill()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)
