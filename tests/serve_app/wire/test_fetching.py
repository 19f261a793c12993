"""Files by URL: read from where it is allowed, as far as it is allowed, and nothing else is told or left behind."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from loopback_web import Web, certificate, drip, nameless_files, ok, redirect, serving

from serve_app.errors import BadUrl, RayscribeError, UploadTooLarge, UrlNotAllowed, UrlUnreachable
from serve_app.fetch_args import FetchArgs
from serve_app.wire.addresses import Resolve, resolve
from serve_app.wire.fetching import MOST_REDIRECTS, Fetcher

MOST = 3_000_000
LARGE = bytes(range(256)) * 8000  # 2 MB: more than is held in memory


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with serving(Web()) as web:
        yield web


def fetcher(web: Web, *allow: str, private: tuple[str, ...] = ("localhost",), **options: float) -> Fetcher:
    """One that may read from the server, which lies on this machine, and from further places."""
    return Fetcher(FetchArgs(allow=[web.url, *allow], allow_private=[*private], **options), MOST)


async def read(fetcher: Fetcher, url: str) -> bytes:
    async with fetcher.fetched(url) as file:
        return await file.read()


async def refused(fetcher: Fetcher, url: str, kind: type[RayscribeError], said: str) -> None:
    with pytest.raises(kind) as caught:
        await read(fetcher, url)
    assert type(caught.value) is kind
    assert caught.value.param == "url"
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_file_is_read_to_the_disk_and_is_gone_afterwards(web: Web) -> None:
    web.answers["/a.wav?token=1"] = ok(LARGE)
    async with fetcher(web).fetched(f"{web.url}/a.wav?token=1") as file:
        assert (file.size, await file.read()) == (len(LARGE), LARGE)
        assert file.file.name is not None  # a real file by now
    assert file.file.closed
    assert (web.headers[0]["host"], web.headers[0]["accept-encoding"]) == (f"localhost:{web.port}", "identity")


async def test_a_file_without_a_length_is_read_to_its_end(web: Web) -> None:
    web.answers["/a"] = ok(LARGE, length=False)
    assert await read(fetcher(web), f"{web.url}/a") == LARGE


async def test_nothing_may_be_read_unless_it_is_allowed(web: Web) -> None:
    await refused(Fetcher(FetchArgs(), MOST), f"{web.url}/secret", UrlNotAllowed, "limits.fetch.allow names the hosts")
    other = Fetcher(FetchArgs(allow=["media.example.com", "s3://calls"], allow_private=["localhost"]), MOST)
    await refused(other, f"{web.url}/secret", UrlNotAllowed, f"http://localhost:{web.port}; limits.fetch.allow")
    await refused(other, "s3://other/secret", UrlNotAllowed, "may not be read from s3://other")
    assert web.asked == []


async def test_an_allowed_name_that_lies_inside_is_refused(web: Web) -> None:
    inside = fetcher(web, "http://127.0.0.1", private=())
    await refused(inside, f"{web.url}/secret", UrlNotAllowed, "'localhost' lies at a private or reserved address")
    await refused(inside, "http://127.0.0.1/secret", UrlNotAllowed, "limits.fetch.allow_private")
    assert web.asked == []


async def test_redirects_are_followed_where_they_may_lead(web: Web) -> None:
    web.answers |= {"/a": redirect("b?c=1"), "/b?c=1": redirect(f"{web.url}/d", "307 Temporary"), "/d": ok(b"sound")}
    assert await read(fetcher(web), f"{web.url}/a") == b"sound"
    assert web.asked == ["/a", "/b?c=1", "/d"]


async def test_redirects_come_to_an_end(web: Web) -> None:
    web.answers |= {f"/{number}": redirect(f"/{number + 1}") for number in range(MOST_REDIRECTS + 1)}
    web.answers[f"/{MOST_REDIRECTS + 1}"] = ok(b"sound")
    assert await read(fetcher(web), f"{web.url}/1") == b"sound"
    await refused(fetcher(web), f"{web.url}/0", UrlUnreachable, "redirected more than 5 times")


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("http://127.0.0.1:PORT/secret", "http://127.0.0.1:"),
        ("http://inside.example:PORT/secret", "'inside.example' lies at a private or reserved address"),
        ("http://169.254.169.254/secret", "'169.254.169.254' lies at a private or reserved address"),
        ("https://localhost:PORT/secret", "https://localhost:"),
        ("file:///secret", "may not be read from file://"),
        ("s3://bucket/secret", "may not be read from s3://bucket"),
        ("//other.org/secret", "may not be read from http://other.org"),
    ],
)
async def test_a_redirect_leads_nowhere_else(web: Web, to: str, said: str) -> None:
    async def names(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "inside.example" else await resolve(host, port)

    web.answers["/a"] = redirect(to.replace("PORT", str(web.port)))
    allow = [web.url, f"http://inside.example:{web.port}", "http://169.254.169.254", "s3://bucket"]
    careful = Fetcher(FetchArgs(allow=allow, allow_private=["localhost"]), MOST, names)
    await refused(careful, f"{web.url}/a", UrlNotAllowed, said)
    assert web.asked == ["/a"]


async def test_a_name_is_resolved_once_for_each_call(web: Web) -> None:
    """DNS rebinding: the second answer would be another machine."""
    answers, asked = {"media.example": ["127.0.0.1", "169.254.169.254"]}, []

    async def names(host: str, port: int) -> list[str]:
        asked.append(host)
        return [answers[host].pop(0)]

    web.answers["/a"] = ok(b"sound")
    place = f"http://media.example:{web.port}"
    careful = Fetcher(FetchArgs(allow=[place], allow_private=["media.example"]), MOST, names)
    assert await read(careful, f"{place}/a") == b"sound"
    assert asked == ["media.example"]
    await refused(careful, f"{place}/secret", UrlNotAllowed, "'media.example' lies at a private or reserved address")
    assert web.asked == ["/a"]


async def test_a_declared_length_is_judged_before_anything_is_read(web: Web) -> None:
    web.answers["/a"] = ok(b"secret", f"Content-Length: {MOST + 1}", length=False)
    await refused(fetcher(web), f"{web.url}/a", UploadTooLarge, "larger than the 3 MB accepted")
    web.answers["/b"] = ok(b"x" * MOST)
    assert len(await read(fetcher(web), f"{web.url}/b")) == MOST


async def test_a_file_without_a_length_is_judged_as_it_comes(web: Web) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()

    web.answers["/a"] = endless
    await refused(fetcher(web), f"{web.url}/a", UploadTooLarge, "limits.max_upload_mb")


async def test_a_slow_host_is_given_up(web: Web) -> None:
    web.answers["/a"] = drip
    await refused(fetcher(web, timeout_s=0.2), f"{web.url}/a", UrlUnreachable, "0.2 s; send it as an upload, or raise")


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "500 Oh", "204 No Content", "206 Partial"])
async def test_a_status_is_told_and_what_is_answered_is_not(web: Web, status: str) -> None:
    web.answers["/a"] = ok(b"" if "204" in status else b"secret", status=status)
    await refused(fetcher(web), f"{web.url}/a", UrlUnreachable, f"'localhost' answers with status {status[:3]}")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"secret, but no HTTP\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret", "broke off"),
        (b"", "broke off"),
        (ok(b"secret", "Content-Encoding: gzip"), "sends the file compressed"),
        (redirect("http://[secret:]/"), "broke off, or does not speak HTTP"),
    ],
)
async def test_a_host_that_errs_is_told_of_in_our_words(web: Web, answer: bytes, said: str) -> None:
    web.answers["/a"] = answer
    await refused(fetcher(web), f"{web.url}/a", UrlUnreachable, said)


async def test_a_host_that_is_not_there_is_named(web: Web) -> None:
    gone = Fetcher(FetchArgs(allow=["http://localhost:1", "nowhere.invalid"], allow_private=["localhost"]), MOST)
    await refused(gone, "http://localhost:1/secret", UrlUnreachable, "cannot be reached")
    await refused(gone, "https://nowhere.invalid/secret", UrlUnreachable, "cannot be reached")


NO_ADDRESSES = [
    *("", "a.wav", "/etc/secret", "file:///etc/secret", "ftp://media.example.com/secret", "https://"),
    *("http://[::1/secret", "https://user:secret@media.example.com/a", "https://a\nb/secret"),
    *("s3://", "s3://bucket", "s3://bucket/", "s3://bucket/../secret", "s3://key:secret@bucket/a"),
]


@pytest.mark.parametrize("url", NO_ADDRESSES)
async def test_what_is_no_address_is_refused(web: Web, url: str) -> None:
    with pytest.raises(BadUrl) as caught:
        await read(fetcher(web, "*", "s3://bucket"), url)
    assert (caught.value.code, caught.value.param) == ("invalid_url", "url")
    assert "secret" not in str(caught.value)


async def test_tls_asks_for_the_name_though_the_address_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = certificate("media.example", tmp_path)

    async def names(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    def to(host: str, resolve: Resolve = names) -> tuple[Fetcher, str]:
        place = f"{host}:{web.port}"
        return Fetcher(FetchArgs(allow=[place], allow_private=[host]), MOST, resolve), f"https://{place}/a"

    async with serving(Web({"/a": ok(b"sound")}), context) as web:
        await refused(*to("media.example"), UrlUnreachable, "certificate is not valid for that name")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await read(*to("media.example")) == b"sound"
        await refused(*to("other.example"), UrlUnreachable, "certificate is not valid for that name")
        plain = Fetcher(FetchArgs(allow=[web.url], allow_private=["localhost"]), MOST)
        await refused(plain, f"{web.url}/a", UrlUnreachable, "does not speak HTTP")
    assert web.asked == ["/a"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for open files")
async def test_no_file_is_left_when_reading_fails_or_is_given_up(web: Web) -> None:
    web.answers |= {"/cut": ok(LARGE, "Content-Length: 2500000", length=False), "/slow": drip, "/a": ok(LARGE)}
    before = nameless_files()
    await refused(fetcher(web), f"{web.url}/cut", UrlUnreachable, "broke off")
    gc.disable()  # closed, not found by the collector
    try:
        async with fetcher(web).fetched(f"{web.url}/a"):
            assert nameless_files() == before + 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read(fetcher(web), f"{web.url}/slow"), 0.2)
        assert nameless_files() == before
    finally:
        gc.enable()
