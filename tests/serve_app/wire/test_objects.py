"""Files in buckets: read with this service's keys, from the buckets that are allowed, against a server that checks."""

from collections.abc import Iterator

import pytest

from serve_app.errors import RayscribeError, UploadTooLarge, UrlNotAllowed, UrlUnreachable
from serve_app.fetch_args import FetchArgs
from serve_app.wire import objects
from serve_app.wire.fetching import Fetcher
from tests.model_store.s3_stand_in import S3, Stored, serving_s3

SOUND = bytes(range(256)) * 8000
MOST = 3_000_000


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setattr(objects, "PATIENCE", objects.Patience(retries=0, retry_for_s=1))
    with serving_s3(S3("calls", objects={"in/a b+ü.wav": Stored(SOUND)})) as s3:
        for name, value in (("ACCESS_KEY_ID", s3.key), ("SECRET_ACCESS_KEY", s3.secret), ("ENDPOINT_URL", s3.url)):
            monkeypatch.setenv(f"AWS_{name}", value)
        yield s3


async def read(url: str, *allow: str) -> bytes:
    async with Fetcher(FetchArgs(allow=[*allow] or ["s3://calls"]), MOST).fetched(url) as file:
        return await file.read()


async def refused(url: str, kind: type[RayscribeError], said: str, *allow: str) -> None:
    with pytest.raises(kind) as caught:
        await read(url, *allow)
    assert (caught.value.param, type(caught.value)) == ("url", kind)
    assert said in str(caught.value)


async def test_an_object_is_read_by_its_key_as_it_is(s3: S3) -> None:
    assert await read("s3://calls/in/a b+ü.wav") == SOUND
    assert await read("s3://calls/in/a b+ü.wav", "s3://calls/in") == SOUND


async def test_what_is_not_allowed_is_not_asked_for(s3: S3) -> None:
    await refused("s3://calls/in/a b+ü.wav", UrlNotAllowed, "may not be read from s3://calls", "s3://calls/out")
    await refused("s3://other/a.wav", UrlNotAllowed, "may not be read from s3://other")
    assert s3.requests == []


async def test_what_is_not_there_is_named(s3: S3) -> None:
    await refused("s3://calls/in/none.wav", UrlUnreachable, "there is no s3://calls/in/none.wav")
    await refused(
        "s3://other/a.wav", UrlUnreachable, "s3://other/a.wav cannot be read; the service's log", "s3://other"
    )


async def test_what_this_service_may_not_read_is_said(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    s3.denied.add("GET")
    await refused("s3://calls/in/a b+ü.wav", UrlUnreachable, "credentials may not read")
    assert "in/a b+ü.wav cannot be read: " in caplog.text


async def test_an_object_that_is_too_large_is_judged_by_its_size(s3: S3) -> None:
    s3.objects["long.wav"] = Stored(bytes(MOST + 1))
    await refused("s3://calls/long.wav", UploadTooLarge, "larger than the 3 MB accepted")


async def test_a_server_that_fails_or_breaks_off_is_no_fault_of_the_request_body(s3: S3) -> None:
    s3.cut["in/a b+ü.wav"] = 1_500_000
    await refused("s3://calls/in/a b+ü.wav", UrlUnreachable, "cannot be read")
    s3.fail_always = (500, "InternalError")
    await refused("s3://calls/in/a b+ü.wav", UrlUnreachable, "cannot be read")


async def test_an_endpoint_that_is_none_is_told_in_the_log(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")
    await refused("s3://calls/a.wav", UrlUnreachable, "its AWS environment names endpoint and credentials")
