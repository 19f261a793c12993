"""Publishing to buckets and fetching from them and from web servers: nothing sent twice, nothing half there."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest
from s3_stand_in import S3, Stored, serving_s3
from store_backends import environment, s3_environment
from store_helpers import FILES, INFO, content, in_child, publish_directory, write_model
from web_stand_in import Web, serving_web

from model_store import (
    DirectoryStore,
    FileEntry,
    Manifest,
    MissingBlob,
    NodeCache,
    NotListable,
    ObjectStore,
    Origin,
    Published,
    StoreReadOnly,
    StoreUnreachable,
    WebStore,
    fetch,
    open_store,
    parse_source,
    publish,
    verify,
)
from model_store.publishing.upload import Upload

CHILD = """
import os, signal, sys
from store_helpers import INFO
from model_store import open_store, parse_source, publish

def die(done, total):
    if done >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

publish(parse_source(f"directory:{sys.argv[1]}"), "m", open_store("s3://models/x"), "v1", INFO, progress=die)
"""


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving_s3(S3()) as s3, s3_environment(s3):
        yield s3


@pytest.fixture
def bucket(s3: S3) -> ObjectStore:
    store = open_store("s3://models/x")
    assert isinstance(store, ObjectStore)
    return store


def publish_to(store: ObjectStore | DirectoryStore, model: Path, *, deep: bool = False) -> Published:
    return publish(parse_source(f"directory:{model}"), "m", store, "v1", INFO, deep=deep)


def blob_key(published: Published, path: str) -> str:
    digest = next(entry.sha256 for entry in published.manifest.files if entry.path == path)
    return f"x/blobs/sha256/{digest[:2]}/{digest}"


def asked_for_blobs(s3: S3, method: str) -> int:
    return sum(request.startswith(f"{method} /models/x/blobs/") for request in s3.requests)


def test_bucket_has_the_layout_of_a_directory(s3: S3, bucket: ObjectStore, model: Path, tmp_path: Path) -> None:
    done = publish_to(bucket, model)
    directory = DirectoryStore(tmp_path / "store")
    for path in (key.removeprefix("x/") for key in s3.objects):
        (directory.root / path).parent.mkdir(parents=True, exist_ok=True)
        (directory.root / path).write_bytes(s3.objects[f"x/{path}"].data)
    assert verify(directory) == []
    assert directory.list_refs() == bucket.list_refs()
    assert directory.read_manifest(done.digest) == done.manifest
    assert s3.uploads == {}


def test_publishing_again_reads_no_blob_back(s3: S3, bucket: ObjectStore, model: Path) -> None:
    first = publish_to(bucket, model)
    s3.requests.clear()
    again = publish_to(bucket, model)
    assert (again.digest, again.reused, again.uploaded_bytes) == (first.digest, True, 0)
    assert asked_for_blobs(s3, "GET") == asked_for_blobs(s3, "PUT") == asked_for_blobs(s3, "POST") == 0


def test_bytes_that_went_bad_in_the_bucket_are_found_by_deep(s3: S3, bucket: ObjectStore, model: Path) -> None:
    damaged = s3.objects[blob_key(publish_to(bucket, model), "model.bin")]
    damaged.data = bytes(len(damaged.data))
    assert publish_to(bucket, model).uploaded_bytes == 0
    assert [problem.path for problem in verify(bucket)] == ["model.bin"]
    assert publish_to(bucket, model, deep=True).uploaded_bytes == len(damaged.data)
    assert verify(bucket) == []


def test_blob_that_another_tool_put_there_is_read_back(s3: S3, bucket: ObjectStore, model: Path) -> None:
    key = blob_key(publish_to(bucket, model), "model.bin")
    for data, uploaded in ((FILES["model.bin"], 0), (bytes(len(FILES["model.bin"])), len(FILES["model.bin"]))):
        s3.objects[key] = Stored(data)
        assert publish_to(bucket, model).uploaded_bytes == uploaded
        assert s3.objects[key].data == FILES["model.bin"]


@pytest.mark.parametrize("stop", [3_000_000, 12_000_000, 29_000_000])
def test_killed_publish_leaves_nothing_half_and_goes_on(s3: S3, tmp_path: Path, model: Path, stop: int) -> None:
    write_model(model, {"model.bin": bytes(range(256)) * 80_000, "second.bin": bytes(range(255)) * 40_000})
    child = in_child(CHILD, model, stop)
    assert child.wait(60) == -signal.SIGKILL, child.communicate()
    assert not [key for key in s3.objects if "/refs/" in key or "/manifests/" in key]
    there = {key.rpartition("/")[2]: len(stored.data) for key, stored in s3.objects.items()}
    bucket = open_store("s3://models/x")
    assert {blob.digest: blob.size for blob in bucket.list_blobs()} == there
    assert isinstance(bucket, ObjectStore)
    done = publish_to(bucket, model)
    sizes = {entry.sha256: entry.size for entry in done.manifest.files}
    assert there.items() <= sizes.items()
    assert done.uploaded_bytes == sum(sizes.values()) - sum(there.values())
    assert verify(bucket) == []


def test_failed_upload_stops_the_others_and_leaves_the_old_model(
    s3: S3, bucket: ObjectStore, model: Path, cache: NodeCache
) -> None:
    first = publish_to(bucket, model)
    write_model(model, {f"{number}.bin": bytes([number]) * 9_000_000 for number in range(6)})

    def stop(done: int, total: int) -> None:
        if done > 10_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(parse_source(f"directory:{model}"), "m", bucket, "v1", INFO, progress=stop)
    assert s3.uploads == {}
    assert fetch("m@v1", bucket, cache).digest == first.digest
    assert verify(bucket) == []


class Breaking(DirectoryStore):
    """A store that fails at the blob of no bytes once another is under way, and takes that one as long as it comes."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.under_way, self.ended_by = Event(), ""

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        if size == 0:
            assert self.under_way.wait(30)
            raise StoreUnreachable("It broke.")
        until = time.monotonic() + 30
        try:
            for _ in chunks:
                self.under_way.set()
                if time.monotonic() > until:
                    break
        except InterruptedError:
            self.ended_by = "the other's failure"
            raise


def test_failure_of_one_upload_ends_the_others(tmp_path: Path) -> None:
    endless, broken = (FileEntry(path=p, size=s, sha256=p * 64, blake3=p * 64) for p, s in (("a", 1), ("b", 0)))
    manifest = Manifest(
        name="m", revision="v1", kind="k", source=Origin(url="directory:m"), created="now", files=(endless, broken)
    )
    store = Breaking(tmp_path / "store")
    upload = Upload(manifest, {"a": Path("/dev/zero"), "b": Path("/dev/null")}, store, lambda done, total: None)
    with pytest.raises(StoreUnreachable, match="It broke"):
        upload.run()
    assert store.ended_by == "the other's failure"


class Pruned(DirectoryStore):
    """A store that somebody prunes between the blobs and the refs; `rounds`: how often after that."""

    rounds = 0

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        super().write_ref(name, tag, digest)
        if tag == "latest":
            shutil.rmtree(self.root / "blobs")
            (self.root / "manifests" / f"{digest}.json").unlink()

    def write_manifest(self, manifest: Manifest) -> None:
        super().write_manifest(manifest)
        if self.rounds and (self.root / "refs").exists():
            self.rounds -= 1
            shutil.rmtree(self.root / "blobs")


@pytest.mark.parametrize("rounds", [0, 1])
def test_what_was_pruned_before_the_refs_is_put_back(tmp_path: Path, model: Path, rounds: int) -> None:
    store = Pruned(tmp_path / "store")
    store.rounds = rounds
    done = publish_to(store, model)
    assert verify(store) == []
    assert store.read_manifest(done.digest) == done.manifest


def test_store_that_keeps_losing_blobs_is_no_success(tmp_path: Path, model: Path) -> None:
    store = Pruned(tmp_path / "store")
    store.rounds = 99
    with pytest.raises(MissingBlob, match=r"keeps removing blobs.*prunes"):
        publish_to(store, model)


@pytest.fixture
def web(tmp_path: Path, model: Path) -> Iterator[Web]:
    publish_directory(model, DirectoryStore(tmp_path / "store"))
    with serving_web(Web(root=tmp_path / "store")) as web:
        yield web


def test_web_server_gives_what_is_named(web: Web, cache: NodeCache) -> None:
    assert content(fetch("demo-whisper@v1", open_store(web.url), cache).path) == FILES


def test_web_server_can_only_be_read(web: Web, model: Path, tmp_path: Path) -> None:
    store = open_store(web.url)
    manifest = DirectoryStore(tmp_path / "store").read_manifest(DirectoryStore(tmp_path / "store").list_manifests()[0])
    for write in (
        lambda: store.write_ref("a", "v1", "a" * 64),
        lambda: store.delete_ref("a", "v1"),
        lambda: store.write_manifest(manifest),
        lambda: store.delete_manifest("a" * 64),
        lambda: store.write_signature("a" * 64, b""),
        lambda: store.put_blob("a" * 64, 0, []),
        lambda: store.delete_blob("a" * 64),
        lambda: publish_directory(write_model(tmp_path / "other", {"x": b"x"}), store),  # type: ignore[arg-type]
    ):
        with pytest.raises(StoreReadOnly, match=f"{web.url} cannot be written: a web server"):
            write()
    assert {request.split()[0] for request in web.requests} <= {"GET", "HEAD"}


def test_web_server_lists_only_with_an_index(web: Web, tmp_path: Path) -> None:
    store, directory = open_store(web.url), DirectoryStore(tmp_path / "store")
    for listing in (store.list_refs, store.list_manifests, lambda: list(store.list_blobs())):
        with pytest.raises(NotListable, match=r"model-store list --json >refs/index\.json"):
            listing()
    rows = [{"name": ref.name, "tag": ref.tag, "digest": ref.digest, "bytes": 1} for ref in directory.list_refs()]
    (directory.root / "refs/index.json").write_text(json.dumps(rows))
    assert store.list_refs() == directory.list_refs()
    assert verify(store) == []
    for wrong in (b"{", b"7", b'[{"name": "a"}]', b'[{"name": "../a", "tag": "b", "digest": "c"}]'):
        (directory.root / "refs/index.json").write_bytes(wrong)
        with pytest.raises(StoreUnreachable, match="is not a list of refs"):
            store.list_refs()


def test_several_stores_are_one(web: Web, s3: S3, tmp_path: Path, cache: NodeCache) -> None:
    for spec in (f"s3://models/x,{web.url}", ["s3://models/x", web.url]):
        store = open_store(spec)
        assert store.url == f"s3://models/x,{web.url}"
        assert content(fetch("demo-whisper@v1", store, cache).path) == FILES
    (tmp_path / "a,b").mkdir()
    assert open_store(str(tmp_path / "a,b")).url == str(tmp_path / "a,b")
    assert isinstance(open_store([web.url]), WebStore)


def test_bucket_of_an_unreachable_server_leaves_the_cached_model(
    s3: S3, bucket: ObjectStore, model: Path, cache: NodeCache
) -> None:
    done = publish_to(bucket, model)
    fetch("m", bucket, cache)
    with environment(AWS_ENDPOINT_URL="http://127.0.0.1:9"):
        gone = open_store("s3://models/x")
        assert fetch("m", gone, cache).digest == done.digest
        with pytest.raises(StoreUnreachable, match="connection refused"):
            fetch("m@v1", gone, NodeCache(cache.root.parent / "another"))
    assert os.environ["AWS_ENDPOINT_URL"] == s3.url
