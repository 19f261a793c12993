"""A TCP proxy on the loopback that gives each connection so many bytes per second, and not one more.

    python -m benchmarks.store.proxy HOST PORT BYTES_PER_S

The bytes go by splice, from socket to socket within the kernel: eight connections must not be held up by Python.
"""

import fcntl
import os
import socket
import sys
import threading
import time
from contextlib import suppress

STEP = 256 * 1024
BUFFER = 1024 * 1024
BURST_S = 0.02


class Bucket:
    """A token bucket: `rate` tokens come each second, at most what comes in `BURST_S` is kept."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._due = time.monotonic()

    def spend(self, count: int) -> None:
        """Take tokens, and wait until there are as many."""
        now = time.monotonic()
        self._due = max(self._due, now - BURST_S) + count / self.rate
        if self._due > now:
            time.sleep(self._due - now)


def relay(origin: socket.socket, target: socket.socket, bucket: Bucket | None) -> None:
    """Move bytes one way until a side is closed."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, BUFFER)
    try:
        with suppress(OSError):
            while count := os.splice(origin.fileno(), writer, STEP):
                if bucket is not None:
                    bucket.spend(count)
                while count:
                    count -= os.splice(reader, target.fileno(), count)
    finally:
        os.close(reader)
        os.close(writer)
        for end in (origin, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def serve(client: socket.socket, address: tuple[str, int], rate: float) -> None:
    """One connection: what the client sends goes as it comes, what it is sent goes through the bucket."""
    with client, socket.socket() as server:
        # Small buffers: what waits in them is sent and not received.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect(address)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = threading.Thread(target=relay, args=(client, server, None), daemon=True)
        up.start()
        relay(server, client, Bucket(rate))
        up.join()


def main(host: str, port: int, rate: float) -> None:
    """Serve until killed; the first line printed is the address."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client, (host, port), rate), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
