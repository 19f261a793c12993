"""Ask the fork server for a worker, before anything is imported but a little of the standard library.

RAYSCRIBE_FORK_SERVER names the server's socket; `auto` means one for each Ray node, which the first worker starts;
`off` means none.
Whatever goes wrong before the copy is told to go, this process goes on and is the worker itself; afterwards it ends.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress

VARIABLE = "RAYSCRIBE_FORK_SERVER"
AUTO, OFF = "auto", "off"
SCRIPT = os.path.join("ray", "_private", "workers", "default_worker.py")
RAYLET = "--raylet-name="
PATIENCE_S = 40.0
"""Below the minute that Ray waits for a worker to say that it is there."""
READY, GO = b"+", b"!"


def ask() -> None:
    """Have a copy of the server go on as the worker that this process was started to be, and end; or return."""
    is_worker = len(sys.orig_argv) > 1 and sys.orig_argv[1].endswith(SCRIPT)
    if is_worker and sys.platform == "linux" and continued(os.environ[VARIABLE]):
        os._exit(0)  # nothing was begun, so there is nothing to clean up


def continued(place: str, patience_s: float = PATIENCE_S) -> bool:
    """Tell whether a copy of the server at a place, or of this node's, goes on as this process."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.settimeout(patience_s)
        _connect(server, place)
        _send(server)
        if server.recv(1) == READY:
            server.sendall(GO)
            return True
    return False


def _connect(server: socket.socket, place: str) -> None:
    if place == AUTO:
        from serve_app.forkserver.node import connect

        for raylet in (word.removeprefix(RAYLET) for word in sys.orig_argv if word.startswith(RAYLET)):
            connect(server, raylet)
    else:
        server.connect(place)


def _send(server: socket.socket) -> None:
    """Tell what of a process its parent decides: arguments, environment, folder, signals, group, streams."""
    about = {
        "argv": sys.orig_argv[1:],
        "executable": sys.executable,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "group": os.getpgrp(),
        "pid": os.getpid(),
    }
    data = json.dumps(about).encode()
    socket.send_fds(server, [len(data).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(data)
