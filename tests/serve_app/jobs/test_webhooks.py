"""Webhooks over real HTTP: signed, tried again, told once, never sent where they should not go."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from job_helpers import NOW, job

from serve_app.errors import BadRequest
from serve_app.jobs.args import WebhookArgs
from serve_app.jobs.job import Job, Webhook
from serve_app.jobs.sqlite_store import SqliteStore
from serve_app.jobs.steps import cancelled, succeeded, taken, told
from serve_app.jobs.webhook_hosts import address_of, allowed_webhook
from serve_app.jobs.webhooks import BadSecret, Webhooks, key_of, pause_s, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DOCS = Path(__file__).parents[3] / "docs" / "jobs.md"


class Receiver:
    """A server that notes what it is sent and answers as told; the last answer is for all that follow."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = [web.Response()]
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        return self.answers.pop(0) if len(self.answers) > 1 else _copy(self.answers[0])

    async def start(self, tls: ssl.SSLContext | None = None) -> tuple[web.AppRunner, int]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner, runner.addresses[0][1]


def _copy(answer: web.Response) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    runner, port = await made.start()
    made.url = f"http://127.0.0.1:{port}/hook?a=b"  # type: ignore[attr-defined]
    yield made
    await runner.cleanup()


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "jobs.sqlite")


ARGS = WebhookArgs(allowed_hosts=["127.0.0.1"], tries=3)


def finished(store: SqliteStore, url: str) -> Job:
    first = store.submit(job(webhook=Webhook(url=url), metadata={"case": "7"}))
    store.take(NOW, taken("w", NOW, 30, 3))
    return store.change(first.id, succeeded("w", NOW), '{"secret": "transcript"}')


async def call(store: SqliteStore, args: WebhookArgs = ARGS, **more: Any) -> None:
    await Webhooks(store, args, key_of(SECRET), **more).call_due()


def hook(store: SqliteStore, job_id: str) -> Webhook:
    found = store.get(job_id).webhook
    assert found
    return found


def documented_verify() -> Callable[[str, dict[str, str], bytes], None]:
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[[str, dict[str, str], bytes], None] = names["verify"]
    return verify


def test_the_signature_is_that_of_standard_webhooks() -> None:
    body = b'{"test": 2432232314}'
    signed = signature(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", SECRET[6:]])
def test_a_secret_that_is_none_is_told_how_to_be_made(secret: str) -> None:
    with pytest.raises(BadSecret, match="make one with"):
        key_of(secret)


async def test_a_finished_job_is_told_and_the_documented_code_verifies_it(store: SqliteStore, receiver: Any) -> None:
    first = finished(store, receiver.url)
    await call(store)
    await call(store)
    ((headers, body),) = receiver.got
    verify = documented_verify()
    verify(SECRET, headers, body)
    with pytest.raises(ValueError, match="not signed"):
        verify(SECRET, headers, body + b" ")
    with pytest.raises(ValueError, match="too old"):
        verify(SECRET, {**headers, "webhook-timestamp": f"{time.time() - 301:.0f}"}, body)
    told_of = json.loads(body)
    assert (told_of["id"], told_of["state"], told_of["metadata"]) == (first.id, "succeeded", {"case": "7"})
    assert told_of["result_url"] == f"/v1/jobs/{first.id}/result"
    assert b'transcript"' not in body.replace(b"transcription", b"")
    assert headers["content-type"] == "application/json"
    assert (hook(store, first.id).state, hook(store, first.id).tries) == ("delivered", 1)


async def test_a_cancelled_job_is_told_too(store: SqliteStore, receiver: Any) -> None:
    first = store.submit(job(webhook=Webhook(url=receiver.url)))
    store.change(first.id, cancelled(NOW))
    await call(store)
    assert json.loads(receiver.got[0][1])["state"] == "cancelled"


async def test_a_try_that_fails_is_made_again_later_by_whoever_comes_then(
    store: SqliteStore, receiver: Any, tmp_path: Path
) -> None:
    receiver.answers = [web.Response(status=500), web.Response()]
    first = finished(store, receiver.url)
    await call(store)
    failed = hook(store, first.id)
    assert (failed.state, failed.error) == ("pending", "it answered 500")
    assert failed.due_at == pytest.approx(time.time() + 5, abs=4)
    await call(store)
    assert len(receiver.got) == 1
    restarted = SqliteStore(tmp_path / "jobs.sqlite")
    restarted.change(first.id, told(NOW, 0, "it answered 500"))  # as if five seconds had passed
    await call(restarted)
    assert (hook(store, first.id).state, hook(store, first.id).tries) == ("delivered", 2)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


async def test_it_is_given_up_after_the_last_try(store: SqliteStore, receiver: Any) -> None:
    receiver.answers = [web.Response(status=503)]
    first = finished(store, receiver.url)
    for _ in range(5):
        await call(store)
        if hook(store, first.id).state == "pending":
            store.change(first.id, told(NOW, 0, "it answered 503"))
    assert (hook(store, first.id).state, hook(store, first.id).error) == ("failed", "it answered 503")
    assert len(receiver.got) == 3


@pytest.mark.parametrize(("status", "tried_again"), [(302, True), (410, False), (404, True), (204, None)])
async def test_what_is_answered_counts(
    store: SqliteStore, receiver: Any, status: int, tried_again: bool | None
) -> None:
    receiver.answers = [web.Response(status=status, headers={"Location": "/elsewhere"})]
    first = finished(store, receiver.url)
    await call(store)
    assert len(receiver.got) == 1
    assert hook(store, first.id).state == {True: "pending", False: "failed", None: "delivered"}[tried_again]


async def test_who_does_not_answer_is_tried_again(store: SqliteStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = finished(store, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        await call(store, WebhookArgs(allowed_hosts=["127.0.0.1"], timeout_s=0.1))
    assert hook(store, first.id).state == "pending"
    assert "Timeout" in (hook(store, first.id).error or "")


async def test_a_job_that_was_deleted_meanwhile_does_no_harm(store: SqliteStore, receiver: Any) -> None:
    first = finished(store, receiver.url)

    async def forgotten(request: httpx.Request) -> httpx.Response:
        await asyncio.to_thread(store.remove, first.id)
        return httpx.Response(200)

    await call(store, transport=httpx.MockTransport(forgotten))
    assert store.page(1) == []


async def test_a_certificate_is_checked_against_the_name_and_the_address_is_the_one_looked_at(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver()
    server, trusting = _certified("hook.test", tmp_path)
    runner, port = await receiver.start(server)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: [(2, 1, 6, "", ("127.0.0.1", port))])
    args = WebhookArgs(allowed_hosts=["*.test"])
    states = []
    for name in ("hook.test", "other.test"):
        first = finished(store, f"https://{name}:{port}/")
        await call(store, args, transport=httpx.AsyncHTTPTransport(verify=trusting))
        states.append(hook(store, first.id))
        store.remove(first.id)
    await runner.cleanup()
    assert [each.state for each in states] == ["delivered", "pending"]
    assert "certificate" in (states[1].error or "").lower()
    assert receiver.got[0][0]["host"] == f"hook.test:{port}"


def _certified(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own for a name, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "pem").write_bytes(secret + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "pem")
    return server, ssl.create_default_context(cadata=pem.decode())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/", "plain http"),
        ("ftp://example.org/", "no URL of a web server"),
        ("example.org", "no URL of a web server"),
        ("https://", "no URL of a web server"),
        ("https://[::1", "is no URL"),
        ("https://example.org:port/", "is no URL"),
        ("https://user:word@example.org/", "a name or a password"),
        ("https://localhost/", "private address"),
        ("https://127.0.0.1/", "private address"),
        ("https://10.1.2.3/", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://[::1]/", "private address"),
        ("https://[::ffff:10.0.0.1]/", "private address"),
        ("https://0.0.0.0/", "private address"),
        ("https://[64:ff9b::a00:1]/", "private address"),
        ("https://hooks.localhost/", "private address"),
    ],
)
def test_where_no_webhook_may_go_is_said_at_once(url: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        allowed_webhook(url, WebhookArgs())
    assert caught.value.param == "webhook_url"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/hook", []),
        ("https://8.8.8.8/", []),
        ("http://hooks.inside/", ["hooks.inside"]),
        ("http://a.b.inside/", ["*.inside"]),
        ("http://10.0.0.1:8080/", ["10.0.0.1"]),
    ],
)
def test_where_webhooks_may_go(url: str, allowed: list[str]) -> None:
    assert allowed_webhook(url, WebhookArgs(allowed_hosts=allowed)) == url


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "::1", "fe80::1%lo", "169.254.169.254", "100.64.0.1"])
async def test_a_name_that_leads_to_a_private_address_is_never_called(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    found = [(2, 1, 6, "", ("93.184.215.14", 443)), (2, 1, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: found)
    first = finished(store, "https://innocent.example.org/")
    await call(store, transport=httpx.MockTransport(lambda request: pytest.fail("it was called")))
    assert hook(store, first.id).state == "failed"
    assert f"the private address {address}" in (hook(store, first.id).error or "")


def test_a_public_name_is_called_at_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: [(2, 1, 6, "", ("93.184.215.14", 443))])
    assert address_of("https://example.org/", WebhookArgs()) == "93.184.215.14"


def test_pauses_grow_and_end() -> None:
    assert [pause_s(tries, 8) for tries in range(1, 9)] == [5, 20, 80, 320, 1280, 5120, 14_400, None]
