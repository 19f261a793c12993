"""Stores in buckets when something is wrong: which error, what it names, how long it takes."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from s3_stand_in import S3, Stored, serving_s3
from store_backends import environment, s3_environment
from web_stand_in import Web, serving_web

from model_store import (
    ModelStoreError,
    NodeCache,
    NotPublished,
    ObjectStore,
    StoreFull,
    StoreReadOnly,
    StoreUnreachable,
    UsageError,
    fetch,
    open_store,
)
from model_store.stores.object_opening import Patience, open_bucket, open_web
from model_store.stores.objects import PART

QUICK = Patience(connect_s=5, stall_s=5, upload_s=5, retries=2, retry_for_s=15, wait_s=0.01)
WHOLE = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(WHOLE).hexdigest()
KEY = f"blobs/sha256/{DIGEST[:2]}/{DIGEST}"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving_s3(S3()) as s3, s3_environment(s3):
        yield s3


@pytest.fixture
def bucket(s3: S3) -> ObjectStore:
    s3.objects[KEY] = Stored(WHOLE)
    return open_bucket("s3://models", QUICK)


def everything(store: ObjectStore) -> dict[str, Callable[[], Any]]:
    """Every kind of request, all of what is not there."""
    return {
        "ref": lambda: store.read_ref("a", "v1"),
        "manifest": lambda: store.read_manifest("a" * 64),
        "has": lambda: store.has_blob("a" * 64, 1),
        "checked": lambda: store.checked_blob("a" * 64, 1),
        "read": lambda: store.read_blob("a" * 64, 0, 1),
        "refs": store.list_refs,
        "blobs": lambda: list(store.list_blobs()),
        "put": lambda: store.put_blob(DIGEST, len(WHOLE), [WHOLE]),
        "put big": lambda: store.put_blob("a" * 64, PART + 1, [bytes(PART + 1)]),
        "write": lambda: store.write_signature("a" * 64, b"x"),
        "delete": lambda: store.delete_blob("a" * 64),
    }


OPERATIONS = ["blobs", "checked", "delete", "has", "manifest", "put", "put big", "read", "ref", "refs", "write"]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret": "another"}, r"SignatureDoesNotMatch \(403\)\. Set AWS_SECRET_ACCESS_KEY"),
        ({"key": "another"}, r"InvalidAccessKeyId \(403\)\. Set AWS_ACCESS_KEY_ID"),
        ({"bucket": "another"}, "there is no bucket models. Create the bucket"),
        ({"clock_ahead": timedelta(hours=1)}, "RequestTimeTooSkewed.*clock"),
    ],
)
def test_wrong_settings_are_named_whatever_is_asked(
    s3: S3, bucket: ObjectStore, operation: str, change: dict[str, Any], words: str
) -> None:
    for name, value in change.items():
        setattr(s3, name, value)
    with pytest.raises(StoreUnreachable, match=words) as caught:
        everything(bucket)[operation]()
    assert f"s3://models ({s3.url})" in caught.value.problem
    assert s3.objects.keys() == {KEY}


def test_missing_model_and_missing_bucket_are_told_apart(s3: S3, bucket: ObjectStore, cache: NodeCache) -> None:
    with pytest.raises(NotPublished, match="holds: nothing"):
        fetch("a", bucket, cache)
    s3.bucket = "another"
    with pytest.raises(StoreUnreachable, match="no bucket models"):
        fetch("a", open_bucket("s3://models", QUICK), cache)


@pytest.mark.parametrize("operation", ["put", "put big", "write", "delete"])
def test_key_that_may_only_read(s3: S3, bucket: ObjectStore, operation: str) -> None:
    s3.denied = {"PUT", "POST", "DELETE"}
    with pytest.raises(StoreReadOnly, match=r"AccessDenied\. Let this key write \(s3:PutObject"):
        everything(bucket)[operation]()
    assert bucket.read_blob(DIGEST, 0, 3) == WHOLE[:3]


@pytest.mark.parametrize("operation", ["ref", "manifest", "read", "has", "checked"])
def test_key_that_may_not_read(s3: S3, bucket: ObjectStore, operation: str) -> None:
    s3.denied = {"GET", "HEAD"}
    with pytest.raises(StoreUnreachable, match=r"AccessDenied.*s3:GetObject and s3:ListBucket"):
        everything(bucket)[operation]()


@pytest.mark.parametrize("operation", ["put", "put big", "write"])
def test_full_bucket(s3: S3, bucket: ObjectStore, operation: str) -> None:
    s3.fail_always = (403, "QuotaExceeded")
    with pytest.raises(StoreFull, match="takes no more: QuotaExceeded"):
        everything(bucket)[operation]()


@pytest.mark.parametrize("status", [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_passing_trouble_is_waited_out(s3: S3, bucket: ObjectStore, status: tuple[int, str]) -> None:
    for operation in (
        lambda: bucket.read_blob(DIGEST, 5, 10) == WHOLE[5:15],
        lambda: bucket.has_blob(DIGEST, len(WHOLE)),
        lambda: bucket.write_ref("a", "v1", "a" * 64) is None,
        lambda: bucket.read_ref("a", "v1") == "a" * 64,
        lambda: len(bucket.list_refs()) == 1,
    ):
        s3.fail = [status, status]
        assert operation()
        assert s3.fail == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_lasting_trouble_ends_in_bounded_time(s3: S3, bucket: ObjectStore, operation: str) -> None:
    s3.fail_always = (503, "SlowDown")
    began = time.monotonic()
    with pytest.raises(StoreUnreachable, match=r"503\)?\. Try again later"):
        everything(bucket)[operation]()
    assert time.monotonic() - began < 5
    assert len(s3.requests) <= 2 * (1 + QUICK.retries)


def test_server_that_fails_in_mid_upload_is_named(s3: S3, bucket: ObjectStore) -> None:
    def chunks() -> Iterator[bytes]:
        for number in range(12):
            if number == 6:
                s3.fail_always = (500, "InternalError")
            yield bytes(PART // 2)

    with pytest.raises(StoreUnreachable, match="InternalError"):
        bucket.put_blob(hashlib.sha256(bytes(6 * PART)).hexdigest(), 6 * PART, chunks())
    s3.fail_always = None
    assert list(bucket.list_blobs()) == [blob for blob in bucket.list_blobs() if blob.digest == DIGEST]


def test_download_that_is_cut_gives_right_bytes_or_an_error(s3: S3, bucket: ObjectStore) -> None:
    s3.cut = {KEY: 100_000}
    assert bucket.read_blob(DIGEST, 0, len(WHOLE)) == WHOLE
    assert s3.cut == {}


def test_stalled_download_goes_on_elsewhere_in_bounded_time(s3: S3) -> None:
    s3.objects[KEY] = Stored(WHOLE)
    s3.stall.clear()
    s3.cut = {KEY: 100_000}
    bucket = open_bucket("s3://models", replace(QUICK, stall_s=0.5))
    began = time.monotonic()
    assert bucket.read_blob(DIGEST, 0, len(WHOLE)) == WHOLE
    assert 0.4 < time.monotonic() - began < 5


@pytest.mark.parametrize("operation", OPERATIONS)
def test_server_that_is_gone(operation: str) -> None:
    with environment(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b"):
        store = open_bucket("s3://models/x", QUICK)
        with pytest.raises(
            StoreUnreachable, match=r"127\.0\.0\.1:9\) cannot be reached: connection refused\..*AWS_END"
        ):
            everything(store)[operation]()


def test_https_to_a_plain_server_says_so(s3: S3) -> None:
    with environment(AWS_ENDPOINT_URL=s3.url.replace("http:", "https:")), pytest.raises(StoreUnreachable, match="TLS"):
        open_bucket("s3://models", QUICK).list_refs()


def test_no_credentials_are_told() -> None:
    with environment(AWS_METADATA_ENDPOINT="http://127.0.0.1:9"):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.pop(name, None)
        with pytest.raises(StoreUnreachable, match=r"no credentials were found.*AWS_ACCESS_KEY_ID.*~/\.aws"):
            open_bucket("s3://models", QUICK).list_refs()


def test_container_credentials_are_used(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"AccessKeyId": s3.key, "SecretAccessKey": s3.secret, "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    (tmp_path / "token").write_text("pod")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving_web(Web(files={"credentials": json.dumps(given).encode()})) as web:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{web.url}/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        open_bucket("s3://models", QUICK).write_ref("a", "v1", "a" * 64)
        assert set(web.requests) == {"GET credentials"}
    assert s3.objects["refs/a/v1"].data == b"a" * 64 + b"\n"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://models/../x", "names no bucket"),
        ("s3://models/a//b", "names no bucket"),
        ("s3://AK:hidden@models/x", "s3://models/x' names no bucket.*AWS_SECRET_ACCESS_KEY"),
        ("https://user:hidden@host/x", "https://host/x' is not an address.*without a password"),
        ("https://host/x?token=hidden", "https://host/x' is not an address"),
        ("https://", "is not an address"),
        ("gs://bucket", "s3://bucket/prefix or https://"),
        ("", "empty"),
        ("/a,,/b", "empty"),
    ],
)
def test_wrong_addresses_are_refused_without_telling_secrets(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        open_store(url)
    assert "hidden" not in str(caught.value)


def test_wrong_environment_is_named(tmp_path: Path) -> None:
    with (
        environment(AWS_ENDPOINT_URL_S3="localhost:9000"),
        pytest.raises(UsageError, match="AWS_ENDPOINT_URL_S3=https"),
    ):
        open_store("s3://models")
    with environment(AWS_CA_BUNDLE=str(tmp_path / "no.pem")), pytest.raises(UsageError, match="AWS_CA_BUNDLE"):
        open_store("s3://models")


def test_addresses_are_kept() -> None:
    assert open_store("s3://models/a/b/").url == "s3://models/a/b"
    assert open_store("s3://models").url == "s3://models"
    assert open_store("https://host/models/").url == "https://host/models"


def test_plain_http_is_only_spoken_where_the_address_says_so() -> None:
    assert QUICK.client("http://host", 1)["allow_http"] is True
    assert QUICK.client("https://host", 1)["allow_http"] is False
    assert QUICK.client("", 1)["allow_http"] is False


def test_buckets_of_aws_itself_are_virtual_hosts() -> None:
    with environment(AWS_REGION="eu-west-1", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b"):
        for name, style in (("models", True), ("my.models", False)):
            store = open_bucket(f"s3://{name}")
            assert store.backend.config["virtual_hosted_style_request"] == str(style).lower()  # type: ignore[union-attr]
            assert store.place.endpoint == "https://s3.eu-west-1.amazonaws.com"


def test_errors_of_the_web_name_the_address() -> None:
    with serving_web(Web(fail=[503] * 9)) as web, pytest.raises(StoreUnreachable, match=rf"{web.url} answers 503"):
        open_web(web.url, QUICK).read_ref("a", "v1")
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9 cannot be reached: connection refused"):
        open_web("http://127.0.0.1:9", QUICK).read_ref("a", "v1")
    with serving_web(Web(fail=[403])) as web, pytest.raises(ModelStoreError, match="answers 403"):
        open_web(web.url, QUICK).read_ref("a", "v1")


def test_cut_read_from_a_web_server(tmp_path: Path) -> None:
    with serving_web(Web(files={KEY: WHOLE}, cut={KEY: [100_000, 1000]})) as web:
        assert open_web(web.url, QUICK).read_blob(DIGEST, 10, len(WHOLE) - 10) == WHOLE[10:]
        assert len(web.requests) == 3
    with (
        serving_web(Web(files={KEY: WHOLE}, cut={KEY: [0] * 100})) as web,
        pytest.raises(StoreUnreachable, match="cut"),
    ):
        open_web(web.url, QUICK).read_blob(DIGEST, 10, 1000)


def test_big_file_of_a_server_without_ranges_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_store.stores.web.MOST_SKIPPED", 1000)
    with serving_web(Web(files={KEY: WHOLE}, ranges=False)) as web:
        store = open_web(web.url, QUICK)
        assert store.read_blob(DIGEST, 1000, 100) == WHOLE[1000:1100]
        with pytest.raises(StoreUnreachable, match=r"ignores Range requests.*nginx"):
            store.read_blob(DIGEST, 1001, 1)
