"""An S3 server on the loopback: what obstore asks of one, signatures checked, and failures on demand."""

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

PAGE = 3


@dataclass
class Stored:
    """One object."""

    data: bytes
    metadata: dict[str, str] = field(default_factory=dict)
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


@dataclass
class S3:
    """What the stand-in holds. `fail`: answers to give before any other; `denied`: methods that are forbidden.

    `cut`: bytes after which a response to a GET of this key is cut off, once; `stalled`: set while nothing is sent.
    """

    bucket: str = "models"
    key: str = "AKTEST"
    secret: str = "SKTEST"
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = field(default_factory=dict)
    fail: list[tuple[int, str]] = field(default_factory=list)
    fail_always: tuple[int, str] | None = None
    denied: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    stall: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    clock_ahead: timedelta = timedelta()
    url: str = ""


def signature(secret: str, method: str, url: str, headers: dict[str, str], signed: str, scope: str) -> str:
    """AWS's signature, version 4."""
    parts = urlsplit(url)
    query = "&".join(sorted(part if "=" in part else f"{part}=" for part in parts.query.split("&") if part))
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in signed.split(";")]
    canonical = "\n".join([method, parts.path or "/", query, *lines, "", signed, headers["x-amz-content-sha256"]])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def ask(method: str, url: str, key: str, secret: str, region: str = "us-east-1") -> bytes:
    """One signed request without a body, for what obstore has no words for: buckets and unfinished uploads."""
    signed = "host;x-amz-content-sha256;x-amz-date"
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": urlsplit(url).netloc, "x-amz-date": now, "x-amz-content-sha256": hashlib.sha256().hexdigest()}
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={signed}, "
        f"Signature={signature(secret, method, url, headers, signed, scope)}"
    )
    with urlopen(Request(url, method=method, headers=headers), timeout=30) as response:
        return bytes(response.read())


class _Handler(BaseHTTPRequestHandler):
    s3: S3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        s3, parts = self.s3, urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, _, self.key = unquote(parts.path).lstrip("/").partition("/")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        s3.requests.append(f"{self.command} {self.path}")
        refused = self._refusal(bucket)
        if refused is not None:
            self._error(*refused)
        elif not self.key:
            self._list()
        else:
            getattr(self, f"_{self.command.lower()}")()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, *args: object) -> None:
        pass

    def _refusal(self, bucket: str) -> tuple[int, str] | None:
        s3 = self.s3
        if s3.fail:
            return s3.fail.pop(0)
        if s3.fail_always is not None:
            return s3.fail_always
        wrong = self._wrong_signature()
        if wrong:
            return 403, wrong
        if bucket != s3.bucket:
            return 404, "NoSuchBucket"
        return (403, "AccessDenied") if self.command in s3.denied else None

    def _wrong_signature(self) -> str:
        given = dict(part.split("=", 1) for part in self.headers["Authorization"].partition(" ")[2].split(", "))
        key, _, scope = given["Credential"].partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        sent = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) + self.s3.clock_ahead - sent) > timedelta(minutes=15):
            return "RequestTimeTooSkewed"
        if key != self.s3.key:
            return "InvalidAccessKeyId"
        if headers["x-amz-content-sha256"] != hashlib.sha256(self.body).hexdigest():
            return "XAmzContentSHA256Mismatch"
        right = signature(self.s3.secret, self.command, self.path, headers, given["SignedHeaders"], scope)
        return "" if right == given["Signature"] else "SignatureDoesNotMatch"

    def _metadata(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def _get(self) -> None:
        found = self.s3.objects.get(self.key)
        if found is None:
            self._error(404, "NoSuchKey")
            return
        headers = {"ETag": found.etag, "Last-Modified": found.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        data, status, asked = found.data, 200, self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(data)), len(data) - 1)
            if start >= len(data):
                self._error(416, "InvalidRange")
                return
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        self._send(status, data, {**headers, **found.metadata}, self.s3.cut.pop(self.key, None))

    _head = _get

    def _put(self) -> None:
        if "uploadId" in self.query:
            self.s3.uploads[self.query["uploadId"]][2][int(self.query["partNumber"])] = self.body
        else:
            self.s3.objects[self.key] = Stored(self.body, self._metadata())
        self._send(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def _post(self) -> None:
        if "uploads" in self.query:
            name = f"upload-{len(self.s3.requests)}"
            self.s3.uploads[name] = (self.key, self._metadata(), {})
            xml = f"<Bucket>{self.s3.bucket}</Bucket><Key>{escape(self.key)}</Key><UploadId>{name}</UploadId>"
            self._send(200, f"<InitiateMultipartUploadResult>{xml}</InitiateMultipartUploadResult>".encode())
            return
        key, metadata, parts = self.s3.uploads.pop(self.query["uploadId"])
        stored = Stored(b"".join(parts[number] for number in sorted(parts)), metadata)
        self.s3.objects[key] = stored
        xml = f"<Key>{escape(key)}</Key><ETag>{escape(stored.etag)}</ETag>"
        self._send(200, f"<CompleteMultipartUploadResult>{xml}</CompleteMultipartUploadResult>".encode())

    def _delete(self) -> None:
        if "uploadId" in self.query:
            self.s3.uploads.pop(self.query["uploadId"], None)
        else:
            self.s3.objects.pop(self.key, None)
        self._send(204, b"")

    def _list(self) -> None:
        after = self.query.get("continuation-token", "")
        keys = sorted(key for key in self.s3.objects if key.startswith(self.query.get("prefix", "")) and key > after)
        rows = "".join(self._row(key) for key in keys[:PAGE])
        more = f"<NextContinuationToken>{escape(keys[PAGE - 1])}</NextContinuationToken>" if len(keys) > PAGE else ""
        cut = "true" if more else "false"
        xml = f"<ListBucketResult><IsTruncated>{cut}</IsTruncated>{more}{rows}</ListBucketResult>"
        self._send(200, xml.encode())

    def _row(self, key: str) -> str:
        found = self.s3.objects[key]
        modified = found.modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{modified}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.data)}</Size></Contents>"
        )

    def _error(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b"")

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.s3.stall.wait(60)
            self.close_connection = True


@contextmanager
def serving_s3(s3: S3) -> Iterator[S3]:
    """Serve on a free port until the end."""
    s3.stall.set()
    handler = type("Handler", (_Handler,), {"s3": s3})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    s3.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield s3
    finally:
        s3.stall.set()
        server.shutdown()
        server.server_close()
