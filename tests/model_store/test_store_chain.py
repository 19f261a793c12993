"""Chains: the first store that has a thing gives it; what cannot be reached is passed over."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from store_helpers import FILES, CountingStore, blob_of, content, publish_directory, write_model

from model_store import (
    CorruptBlob,
    DirectoryStore,
    ManifestError,
    MissingBlob,
    MissingManifest,
    NodeCache,
    NotPublished,
    Published,
    StoreReadOnly,
    StoreUnreachable,
    UsageError,
    fetch,
    open_store,
    verify,
)
from model_store.stores.base import read_only
from model_store.stores.chain import StoreChain, chain, each_store

LATEST = ("demo-whisper", "latest")


class ReadOnlyStore(CountingStore):
    """A store that takes nothing, after `takes` chunks of a blob."""

    takes = 0

    def write_ref(self, name: str, tag: str, digest: str) -> None:
        raise read_only(self.url, "it is an image")

    def delete_ref(self, name: str, tag: str) -> None:
        raise read_only(self.url, "it is an image")

    def put_blob(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        for _ in zip(range(self.takes), chunks, strict=False):
            pass
        raise read_only(self.url, "it is an image")


@pytest.fixture
def other(tmp_path: Path) -> CountingStore:
    """A store with another revision and another model."""
    made = CountingStore(tmp_path / "other")
    root = write_model(tmp_path / "newer", {**FILES, "config.json": b"{}"})
    publish_directory(root, made, revision="v2")
    publish_directory(root, made, name="demo-align")
    (made.root / "reads").unlink(missing_ok=True)
    return made


@pytest.fixture
def absent(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "not-mounted")


def test_first_store_that_knows_a_name_answers(
    store: CountingStore, other: CountingStore, published: Published, cache: NodeCache
) -> None:
    assert StoreChain([store, other]).read_ref(*LATEST) == published.digest
    newer = other.read_ref(*LATEST)
    assert StoreChain([other, store]).read_ref(*LATEST) == newer
    both = StoreChain([store, other])
    assert both.read_ref("demo-whisper", "v2") == newer
    assert both.read_ref("demo-whisper", "v3") is None
    assert content(fetch("demo-whisper@v2", both, cache).path)["config.json"] == b"{}"
    with pytest.raises(NotPublished, match="demo-whisper has: latest, v1, v2"):
        fetch("demo-whisper@v3", both, cache)


def test_absent_store_is_passed_over_with_a_warning(
    absent: DirectoryStore,
    store: CountingStore,
    published: Published,
    cache: NodeCache,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    both = StoreChain([absent, store])
    assert content(fetch("demo-whisper", both, cache).path) == FILES
    assert any("not-mounted" in record.getMessage() for record in caplog.records)
    assert [ref.tag for ref in both.list_refs()] == ["latest", "v1"]
    assert both.list_manifests() == [published.digest]


def test_name_that_no_reachable_store_knows_may_be_in_the_absent_one(
    absent: DirectoryStore, store: CountingStore, other: CountingStore, published: Published, cache: NodeCache
) -> None:
    snapshot = fetch("demo-align", StoreChain([store, other]), cache)
    with pytest.raises(StoreUnreachable, match="not-mounted"):
        StoreChain([store, absent]).read_ref("demo-align", "latest")
    assert fetch("demo-align", StoreChain([store, absent]), cache).path == snapshot.path


def test_all_absent_names_each(absent: DirectoryStore, tmp_path: Path, cache: NodeCache) -> None:
    none = StoreChain([absent, DirectoryStore(tmp_path / "no-bucket")])
    with pytest.raises(StoreUnreachable, match=r"not-mounted.*no-bucket") as caught:
        fetch("demo-whisper", none, cache)
    assert caught.value.details["url"] == none.url == f"{tmp_path}/not-mounted,{tmp_path}/no-bucket"
    for ask in (none.list_refs, none.list_manifests, lambda: list(none.list_blobs())):
        with pytest.raises(StoreUnreachable, match="no-bucket"):
            ask()


def test_damaged_and_missing_manifests_come_from_the_next(
    store: CountingStore, published: Published, model: Path, tmp_path: Path, cache: NodeCache
) -> None:
    good = CountingStore(tmp_path / "good")
    good.write_manifest(published.manifest)
    both, path = StoreChain([store, good]), store.root / "manifests" / f"{published.digest}.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    assert both.read_manifest(published.digest) == published.manifest
    path.unlink()
    assert both.read_manifest(published.digest) == published.manifest
    path.write_bytes(b"{}")
    good.delete_manifest(published.digest)
    with pytest.raises(ManifestError, match="damaged"):
        both.read_manifest(published.digest)
    path.unlink()
    with pytest.raises(MissingManifest):
        both.read_manifest(published.digest)


def test_blobs_fall_through(store: CountingStore, other: CountingStore, published: Published) -> None:
    both = StoreChain([other, store])
    config = next(entry for entry in published.manifest.files if entry.path == "config.json")
    assert not other.has_blob(config.sha256, config.size)
    assert both.has_blob(config.sha256, config.size)
    assert both.read_blob(config.sha256, 0, config.size) == FILES["config.json"]
    assert both.local_path(config.sha256) == store.local_path(config.sha256)
    assert both.local_path("0" * 64) is None
    assert not both.has_blob("0" * 64, 1)
    with pytest.raises(MissingBlob):
        both.read_blob("0" * 64, 0, 1)
    with pytest.raises(CorruptBlob):
        both.read_blob(config.sha256, 0, config.size + 1)
    sizes = {blob.digest: blob.size for blob in both.list_blobs()}
    assert len(sizes) == len(list(both.list_blobs())) == 4
    assert not both.checked_blob(config.sha256, config.size)


def test_lists_are_merged_and_the_first_wins(store: CountingStore, other: CountingStore, published: Published) -> None:
    both = StoreChain([store, other])
    refs = {(ref.name, ref.tag): ref.digest for ref in both.list_refs()}
    assert sorted(refs) == [
        ("demo-align", "latest"),
        ("demo-align", "v1"),
        LATEST,
        *(("demo-whisper", t) for t in ("v1", "v2")),
    ]
    assert refs[LATEST] == both.read_ref(*LATEST) == published.digest
    assert both.list_manifests() == sorted({*store.list_manifests(), *other.list_manifests()})
    assert verify(both) == []


def test_signatures_fall_through(store: CountingStore, other: CountingStore, published: Published) -> None:
    both = StoreChain([store, other])
    assert both.read_signature(published.digest) is None
    other.write_signature(published.digest, b"other")
    assert both.read_signature(published.digest) == b"other"
    both.write_signature(published.digest, b"mine")
    assert (both.read_signature(published.digest), store.read_signature(published.digest)) == (b"mine", b"mine")


def test_writes_go_to_the_first_store_that_takes_them(
    store: CountingStore, tmp_path: Path, published: Published
) -> None:
    image = ReadOnlyStore(tmp_path / "image")
    both = StoreChain([image, store])
    both.write_ref("demo-whisper", "v9", published.digest)
    assert store.read_ref("demo-whisper", "v9") == published.digest
    both.delete_ref("demo-whisper", "v9")
    assert store.read_ref("demo-whisper", "v9") is None
    with pytest.raises(StoreReadOnly, match="image"):
        StoreChain([image]).write_ref("demo-whisper", "v9", published.digest)


def test_blob_whose_bytes_are_spent_is_not_given_to_the_next_store(
    store: CountingStore, tmp_path: Path, published: Published
) -> None:
    image = ReadOnlyStore(tmp_path / "image")
    both, entry = StoreChain([image, store]), published.manifest.files[0]
    content = store.read_blob(entry.sha256, 0, entry.size)
    store.delete_blob(entry.sha256)
    both.put_blob(entry.sha256, entry.size, iter([content]))
    assert store.has_blob(entry.sha256, entry.size)
    image.takes = 1
    with pytest.raises(StoreReadOnly):
        both.put_blob(entry.sha256, entry.size, iter([content]))
    both.delete_blob(entry.sha256)


def test_chains_are_made_of_several_and_flat(store: CountingStore, other: CountingStore) -> None:
    assert chain([store]) is store
    nested = chain([chain([store, other]), other])
    assert each_store(nested) == (store, other, other)
    assert each_store(store) == (store,)
    with pytest.raises(UsageError):
        chain([])
    opened = open_store(f"{store.root},{other.root}")
    assert [part.url for part in each_store(opened)] == [store.url, other.url]
    assert opened.url == f"{store.url},{other.url}"


def test_damaged_blob_of_the_first_is_found_by_verify(
    store: CountingStore, published: Published, tmp_path: Path
) -> None:
    blob_of(store, published, "model.bin").write_bytes(b"x" * len(FILES["model.bin"]))
    assert [problem.path for problem in verify(StoreChain([store, store]))] == ["model.bin"]
