"""The process whose copies become Ray's workers: `python -m serve_app.forkserver FD PID [FUNCTION ...]`.

It imports what every worker needs and answers at the socket FD until the process PID ends. What takes long (the
functions, of `preload`) is imported by a copy that steps back meanwhile and then takes its place. Either has one
thread, so that its copies lack nothing.
"""

import gc
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any

from serve_app.forkserver.hook import GO, READY
from serve_app.forkserver.preload import ids_differ
from serve_app.forkserver.worker import Request, take_place
from serve_app.priorities import threads

PATIENCE_S = 5.0
SAME_IDS = "there are no copies of this process: an id was made in it, and all would make the same next"
STEP_BACK = 15
LARGEST_PART = 1 << 16
AT_START = ("RAY_", "PYTHON", "LD_", "MALLOC_")
"""Variables that are read while Python starts or Ray is imported: a worker with others cannot be a copy."""
ANY = frozenset({"RAY_AUTH_MODE", "RAY_JOB_ID", "RAY_LD_PRELOAD_ON_WORKERS", "RAY_RAYLET_PID"})
"""Of these, those that may differ: Ray reads the first again, and knows no job of a worker before its first task.

The last is whose end a worker does not outlive: the service's, which has the node.
"""


class Server:
    """Copies of this process for those who ask at a socket, until its parent ends."""

    def __init__(self, listening: socket.socket, parent: int) -> None:
        self._listening = listening
        self._listening.setblocking(False)
        self._environment = at_start(os.environ)
        self._parent = os.pidfd_open(parent)
        self._heir: socket.socket | None = None
        self._sign_of_life: socket.socket | None = None
        self._waiting: list[socket.socket] = []

    def serve(self, functions: Sequence[str] = ()) -> Request | None:
        """Answer until the parent ends, which returns None; in a copy, return the worker that it is to be."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, to all: the service ends in its own way
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for copies
        if not ids_differ():
            say(SAME_IDS)
            return None
        if functions:
            self._raise_heir(functions)
        with selectors.DefaultSelector() as selector:
            for source in (self._listening, self._parent, self._heir):
                if source is not None:
                    selector.register(source, selectors.EVENT_READ)
            while True:
                sources = [key.fileobj for key, _ in selector.select()]
                if self._parent in sources:
                    return None
                if self._heir in sources:
                    self._hear_of_heir(selector)
                elif request := self._accept():
                    return request

    def _raise_heir(self, functions: Sequence[str]) -> None:
        """Have a copy import what takes long; in it, return once that is done."""
        own = os.getpid()
        ours, theirs = socket.socketpair()
        if os.fork():
            theirs.close()
            self._heir = ours
            return
        ours.close()
        os.close(self._parent)
        self._parent = os.pidfd_open(own)
        with threads(1, "import", STEP_BACK) as aside:
            aside.submit(prepare, functions).result()
        if not ids_differ():
            say(SAME_IDS)
            os._exit(1)
        theirs.sendall(READY)
        self._sign_of_life = theirs

    def _hear_of_heir(self, selector: selectors.BaseSelector) -> None:
        """Leave the socket to the heir, or take it back where the heir has died."""
        assert self._heir is not None
        if self._heir.recv(1) == READY:
            selector.unregister(self._listening)
        else:
            selector.unregister(self._heir)
            self._heir = None
            if self._listening not in [key.fileobj for key in selector.get_map().values()]:
                selector.register(self._listening, selectors.EVENT_READ)
        for connection in self._waiting:
            with connection, suppress(OSError):
                connection.sendall(READY)
        self._waiting.clear()

    def _accept(self) -> Request | None:
        """Answer the next one who asks, unless the heir was faster; nothing that is asked ends the server."""
        with suppress(Exception), self._listening.accept()[0] as connection:
            connection.settimeout(PATIENCE_S)
            with _received(connection) as (asked, streams):
                if asked == {}:
                    self._tell_when_ready(connection)
                    return None
                request = Request(**asked, streams=streams)
                if self._can_be(request) and not os.fork():
                    self._become(request, connection)
                    return request
        return None

    def _tell_when_ready(self, connection: socket.socket) -> None:
        if self._heir:
            self._waiting.append(connection.dup())
        else:
            connection.sendall(READY)

    def _can_be(self, request: Request) -> bool:
        why = self._hindrance(request)
        if why:
            say(f"worker {request.pid} is no copy: {why}")
        return not why

    def _hindrance(self, request: Request) -> str:
        """Return why a copy of this process cannot be a worker; empty if it can."""
        theirs = at_start(request.environment)
        if others := sorted({name for name, _ in theirs.items() ^ self._environment.items()}):
            return f"its {', '.join(others)} are not the server's"
        if request.executable != sys.executable:
            return f"it runs {request.executable}"
        if len(os.listdir("/proc/self/task")) > 1:
            return "the server has more than one thread"
        return "the server has loaded the GPU's driver" if _knows_gpus() else ""

    def _become(self, request: Request, connection: socket.socket) -> None:
        """In the copy: be the worker, once who asked says so; else end, and who asked goes on as the worker itself."""
        try:
            for source in (self._listening, self._heir, self._sign_of_life, *self._waiting):
                if source is not None:
                    source.close()
            os.close(self._parent)
            take_place(request)
            connection.sendall(READY)
            told = connection.recv(1)
        except OSError:
            told = b""
        if told != GO:
            os._exit(1)


def _knows_gpus() -> bool:
    """Tell whether a library has loaded the GPUs' driver: what was begun with it does not survive a copy."""
    return "libcuda.so" in Path("/proc/self/maps").read_text()


@contextmanager
def _received(connection: socket.socket) -> Iterator[tuple[dict[str, Any], Sequence[int]]]:
    """Yield what is asked and the streams that came with it, which are closed afterwards."""
    start, streams, _, _ = socket.recv_fds(connection, 4, 3)
    try:
        missing = int.from_bytes(start, "big")
        parts = []
        while missing and (part := connection.recv(min(missing, LARGEST_PART))):
            parts.append(part)
            missing -= len(part)
        yield json.loads(b"".join(parts)), streams
    finally:
        for stream in streams:
            os.close(stream)


def prepare(functions: Sequence[str]) -> None:
    """Call functions that import, `module:function`; what one of them cannot import is left to who needs it."""
    for name in functions:
        try:
            with redirect_stderr(StringIO()):  # of warnings: who needs it tells its own
                pkgutil.resolve_name(name)()
        except ModuleNotFoundError:
            continue  # an image without that stage
        except Exception as error:  # noqa: BLE001 - who needs it fails with it, and tells more
            say(f"cannot prepare {name}: {error!r}")
    gc.collect()
    gc.freeze()  # so that a collection in a copy does not write to all that they share


def say(what: str) -> None:
    """Write a line to what this process tells people by."""
    print(f"fork server {os.getpid()}: {what}", file=sys.stderr, flush=True)


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment a copy cannot change any more."""
    return {name: value for name, value in environment.items() if name.startswith(AT_START) and name not in ANY}
