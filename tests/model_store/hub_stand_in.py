"""A Hugging Face hub on the loopback: the few endpoints that huggingface_hub 0.36 asks, with real status codes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0de"


@dataclass
class Hub:
    """What the stand-in serves. `large`: paths kept as LFS, whose etag is their sha256."""

    repo: str = "org/model"
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    gated: bool = False
    token: str = "hf_good"
    fail_with: int = 0
    cut_after: dict[str, int] = field(default_factory=dict)
    wrong_bytes: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)
    url: str = ""

    def info(self) -> dict[str, object]:
        """The answer of `api/models/<repo>/revision/<revision>`."""
        return {"id": self.repo, "sha": COMMIT, "gated": "auto" if self.gated else False, "siblings": self._siblings()}

    def _siblings(self) -> list[dict[str, object]]:
        return [self._sibling(path, data) for path, data in self.files.items()]

    def _sibling(self, path: str, data: bytes) -> dict[str, object]:
        sibling: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
        if path in self.large:
            sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return sibling


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.requests.append(f"{self.command} {path}")
        if hub.fail_with:
            self._send(hub.fail_with, b"", body)
        elif path.startswith(f"/api/models/{hub.repo}/revision/"):
            known = path.endswith((f"/{COMMIT}", "/main"))
            self._json(hub.info()) if known else self._error(404, "RevisionNotFound", body)
        elif path.startswith(f"/{hub.repo}/resolve/{COMMIT}/"):
            self._file(path.removeprefix(f"/{hub.repo}/resolve/{COMMIT}/"), body)
        else:
            self._error(401, "RepoNotFound", body)

    def _file(self, name: str, body: bool) -> None:
        hub = self.hub
        if hub.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._error(403, "GatedRepo", body)
            return
        data = hub.files[name]
        digest = hashlib.sha256(data) if name in hub.large else hashlib.sha1(data)
        headers = {"ETag": f'"{digest.hexdigest()}"', "X-Repo-Commit": COMMIT}
        if name in hub.wrong_bytes:
            data = bytes(len(data))
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            hub.resumed_at.append(start)
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if start else 200, data[start:], body, headers, hub.cut_after.pop(name, None) if body else None)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), True, {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, body: bool) -> None:
        self._send(status, b"", body, {"X-Error-Code": code, "X-Error-Message": code})

    def _send(
        self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            threading.Event().wait(3600)  # a stalled download, for someone to kill


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port until the end."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
