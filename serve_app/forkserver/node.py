"""One fork server for each Ray node, started by the first worker that looks for it: for Rays that others start."""

import fcntl
import os
import socket
from contextlib import suppress

from serve_app.forkserver.starting import start

LOG = "fork_server.log"


def connect(client: socket.socket, raylet: str) -> None:
    """Connect to the server beside a raylet's socket; start it before that where there is none. Raises OSError."""
    place = f"{raylet}.forks"
    if _is_there(client, place):
        return
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_there(client, place):  # another was faster
            return
        with suppress(FileNotFoundError):
            os.unlink(place)  # of one that has died
        start(place, parent=int(os.environ["RAY_RAYLET_PID"]), log=_log(raylet))
    client.connect(place)


def _is_there(client: socket.socket, place: str) -> bool:
    try:
        client.connect(place)
    except OSError:
        return False
    return True


def _log(raylet: str) -> str:
    """Return a file among the node's logs, which lie beside the folder of its sockets; nowhere without that."""
    logs = os.path.join(os.path.dirname(os.path.dirname(raylet)), "logs")
    return os.path.join(logs, LOG) if os.path.isdir(logs) else os.devnull
