"""A plain web server on the loopback over some files, with or without ranges, and failures on demand."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class Web:
    """What the stand-in serves: `files`, else what lies below `root`.

    `cut`: bytes after which an answer to a GET is cut off, one for each GET of a path; `etags`: whether it sends them;
    `fail`: statuses to answer before any other; `stall_after`: send so many bytes, then nothing until it is None.
    """

    root: Path | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etags: bool = True
    cut: dict[str, list[int]] = field(default_factory=dict)
    fail: list[int] = field(default_factory=list)
    stall_after: int | None = None
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def read(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        found = self.root / path if self.root else None
        return found.read_bytes() if found and found.is_file() else None


class _Handler(BaseHTTPRequestHandler):
    web: Web
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        web, path = self.web, unquote(self.path).lstrip("/")
        data, asked = web.read(path), self.headers.get("Range", "")
        web.requests.append(f"{self.command} {path} {asked}".strip())
        if web.fail or data is None:
            self._send(web.fail.pop(0) if web.fail else 404, b"", {})
            return
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'} if web.etags else {}
        headers["Last-Modified"] = "Sat, 01 Mar 2025 10:00:00 GMT"
        if not asked or not web.ranges:
            self._send(200, data, headers, path)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        if start >= len(data):
            self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        else:
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            self._send(206, data[start : end + 1], headers, path)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass

    def _send(self, status: int, data: bytes, headers: dict[str, str], path: str = "") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.web.cut.get(path)
        cut = cuts.pop(0) if cuts else None
        stop = self.web.stall_after
        if stop is not None and len(data) > stop:
            self.wfile.write(data[:stop])
            while self.web.stall_after is not None:
                time.sleep(0.02)
            self.close_connection = True
            return
        self.wfile.write(data[:cut])
        self.close_connection = cut is not None


@contextmanager
def serving_web(web: Web) -> Iterator[Web]:
    """Serve on a free port until the end."""
    handler = type("Handler", (_Handler,), {"web": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
