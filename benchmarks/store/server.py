"""A web server on the loopback, in a process of its own: the files of one model as a hub and as a store, by sendfile.

/api/models/bench/model/revision/…       what a hub says of a repository
/bench/model/resolve/<commit>/<path>     its files, with ETag and Range
/store/…                                 a directory store's files
/stats                                   {"sent": bytes of files, "requests": …, "active": answers under way}
/stall/<bytes>                           hold all answers once so many more bytes are sent; /stall/-1: let them go on
"""

import json
import os
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

REPO = "bench/model"
COMMIT = "be4c" * 10
STEP = 1024 * 1024


@dataclass
class Shelf:
    """The files to serve, and what has been sent of them."""

    store: Path
    files: dict[str, str]
    sent: int = 0
    requests: int = 0
    active: int = 0
    stall_at: int | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def stats(self) -> dict[str, int]:
        """The counts so far."""
        return {"sent": self.sent, "requests": self.requests, "active": self.active}

    def stall(self, more: int) -> None:
        """Hold answers after `more` bytes; none if negative."""
        with self.changed:
            self.stall_at = self.sent + more if more >= 0 else None
            self.changed.notify_all()

    def allowed(self, wanted: int) -> int:
        """How many bytes may be sent now; waits while none may. They count as sent."""
        with self.changed:
            while self.stall_at is not None and self.sent >= self.stall_at:
                self.changed.wait()
            count = wanted if self.stall_at is None else min(wanted, self.stall_at - self.sent)
            self.sent += count
            return count

    def info(self) -> dict[str, object]:
        """What a hub says of the repository."""
        siblings = [{"rfilename": path, "size": os.path.getsize(file)} for path, file in self.files.items()]
        return {"id": REPO, "sha": COMMIT, "siblings": siblings}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    shelf: Shelf
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send what the path names."""
        shelf, path = self.shelf, unquote(self.path.partition("?")[0])
        if path == "/stats":
            self._json(shelf.stats())
        elif path.startswith("/stall/"):
            shelf.stall(int(path.removeprefix("/stall/")))
            self._json({})
        else:
            shelf.requests += 1
            self._answer(path)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, path: str) -> None:
        resolve = f"/{REPO}/resolve/{COMMIT}/"
        if path.startswith(f"/api/models/{REPO}/revision/"):
            self._json(self.shelf.info())
        elif path.startswith(resolve) and path.removeprefix(resolve) in self.shelf.files:
            self._file(Path(self.shelf.files[path.removeprefix(resolve)]))
        elif path.startswith("/store/") and (self.shelf.store / path.removeprefix("/store/")).is_file():
            self._file(self.shelf.store / path.removeprefix("/store/"))
        else:
            self._head(404, 0, {})

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._head(200, len(body), {"Content-Type": "application/json"})
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, path: Path) -> None:
        size, asked = path.stat().st_size, self.headers.get("Range", "")
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or size - 1), size - 1)
        headers = {"ETag": f'"{path.name}"', "X-Repo-Commit": COMMIT, "Last-Modified": "Sat, 01 Mar 2025 10:00:00 GMT"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        self._head(206 if asked else 200, end - start + 1, headers)
        if self.command == "GET":
            self._send(path, start, end + 1)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, path: Path, start: int, end: int) -> None:
        self.shelf.active += 1
        try:
            with path.open("rb") as file:
                while start < end:
                    count = self.shelf.allowed(min(STEP, end - start))
                    while count:
                        sent = os.sendfile(self.connection.fileno(), file.fileno(), start, count)
                        start, count = start + sent, count - sent
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.shelf.active -= 1


class Server(ThreadingHTTPServer):
    """Many connections at once; clients that are killed are no error."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


def main(order: dict[str, object]) -> None:
    """Serve until killed; the first line printed is the address."""
    files = order["files"]
    assert isinstance(files, dict)
    handler = type("BoundHandler", (Handler,), {"shelf": Shelf(Path(str(order["store"])), files)})
    server = Server(("127.0.0.1", 0), handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
