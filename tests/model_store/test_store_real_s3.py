"""A real S3 server, if RAYSCRIBE_TEST_S3 names its endpoint and the AWS variables hold its keys."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_stand_in import ask
from store_backends import environment, real_bucket
from store_helpers import INFO, content, write_model

from model_store import CorruptBlob, NodeCache, StoreUnreachable, fetch, open_store, parse_source, publish, verify
from model_store.stores.object_opening import open_bucket

ENDPOINT = os.environ.get("RAYSCRIBE_TEST_S3", "")
pytestmark = pytest.mark.skipif(not ENDPOINT, reason="RAYSCRIBE_TEST_S3 is not set")
PREFIX = "/some/prefix"


@pytest.fixture
def url() -> Iterator[str]:
    with real_bucket() as url:
        yield url


def unfinished(url: str) -> bytes:
    bucket = url.removeprefix("s3://").removesuffix(PREFIX)
    listed = ask(
        "GET", f"{ENDPOINT}/{bucket}?uploads=", os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    )
    assert b"ListMultipartUploadsResult" in listed
    return listed


def test_big_model_goes_there_and_back(url: str, model: Path, cache: NodeCache) -> None:
    write_model(model, {"model.bin": bytes(range(256)) * 120_000})
    store = open_bucket(url)
    done = publish(parse_source(f"directory:{model}"), "m", store, "v1", INFO)
    assert content(fetch("m", store, cache).path)["model.bin"] == bytes(range(256)) * 120_000
    assert publish(parse_source(f"directory:{model}"), "m", store, "v1", INFO).uploaded_bytes == 0
    assert publish(parse_source(f"directory:{model}"), "m", store, "v1", INFO, deep=True).uploaded_bytes == 0
    assert all(store.checked_blob(entry.sha256, entry.size) for entry in done.manifest.files)
    assert verify(store) == []


def test_bucket_is_a_source(url: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    publish(parse_source(f"directory:{model}"), "m", open_bucket(url), "v1", INFO)
    done = publish(parse_source(f"{url}/refs"), "refs", open_store(tmp_path / "store"), "v1", INFO)
    assert {entry.path: entry.size for entry in done.manifest.files} == {"m/v1": 65, "m/latest": 65}


def test_wrong_bytes_leave_no_unfinished_upload(url: str) -> None:
    store, chunks = open_bucket(url), [bytes([number]) * 1_000_000 for number in range(30)]
    with pytest.raises(CorruptBlob):
        store.put_blob("a" * 64, 30_000_000, iter(chunks))
    assert list(store.list_blobs()) == []
    assert b"<Upload>" not in unfinished(url)
    store.put_blob(hashlib.sha256(b"".join(chunks)).hexdigest(), 30_000_000, iter(chunks))
    assert len(list(store.list_blobs())) == 1


@pytest.mark.parametrize(
    ("change", "bucket", "words"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "", "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "", "InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
        ({}, "s3://rayscribe-no-such-bucket", "there is no bucket rayscribe-no-such-bucket"),
    ],
)
def test_wrong_settings_are_named(url: str, change: dict[str, str], bucket: str, words: str) -> None:
    with environment(**change):
        store = open_bucket(bucket or url)
        for request in (
            lambda: store.read_ref("a", "v1"),
            lambda: store.has_blob("a" * 64, 1),
            lambda: store.checked_blob("a" * 64, 1),
            lambda: store.read_blob("a" * 64, 0, 1),
            lambda: store.read_manifest("a" * 64),
            store.list_refs,
            lambda: store.put_blob(hashlib.sha256(b"").hexdigest(), 0, []),
            lambda: store.delete_blob("a" * 64),
        ):
            with pytest.raises(StoreUnreachable, match=words):
                request()
