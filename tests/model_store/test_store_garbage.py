"""Garbage: what nothing names goes, in a store and in a node cache; what anything names stays."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_backends import WRITABLE, backend
from store_helpers import content, publish_directory, write_model

from model_store import (
    CacheError,
    CorruptBlob,
    DirectoryStore,
    ManifestError,
    NodeCache,
    NotPublished,
    Ref,
    Store,
    fetch,
    parse_source,
    publish,
    verify,
)
from model_store.publishing.publish import ModelInfo, Published
from model_store.staging import staging_directory
from model_store.upkeep.garbage import Garbage, collect_garbage, tidy
from model_store.upkeep.removal import remove_cached, remove_refs

DAY = 86_400.0


def put(store: Store, root: Path, name: str, revision: str = "v1", **files: bytes) -> Published:
    """Publish a model of these files, and of one that all models share."""
    write_model(root / name / revision, {**files, "shared": b"shared"})
    return publish(parse_source(f"directory:{root / name / revision}"), name, store, revision, ModelInfo("whisper-ct2"))


def names(published: Published, *paths: str) -> set[str]:
    return {entry.sha256 for entry in published.manifest.files if entry.path in paths}


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let gc live some time from now."""
    monkeypatch.setattr("model_store.upkeep.garbage.time", SimpleNamespace(time=lambda: time.time() + seconds))


@pytest.fixture(params=WRITABLE)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with backend(request.param, tmp_path) as made:
        yield made.writer


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_what_no_ref_names_goes(any_store: Store, tmp_path: Path) -> None:
    old = put(any_store, tmp_path, "a", "v1", first=b"1", own=b"one")
    new = put(any_store, tmp_path, "a", "v2", first=b"1", own=b"two")
    removed = remove_refs("a@v1", any_store)
    assert ([str(ref.tag) for ref in removed.refs], removed.still_named, removed.bytes) == (["v1"], (), 3)
    wanted = Garbage((old.digest,), tuple(names(old, "own")), 3)
    assert collect_garbage(any_store, grace_s=0, dry_run=True) == wanted
    assert any_store.list_manifests() == sorted([old.digest, new.digest])
    assert collect_garbage(any_store, grace_s=0) == wanted
    assert any_store.list_manifests() == [new.digest]
    assert {blob.digest for blob in any_store.list_blobs()} == names(new, "first", "own", "shared")
    assert verify(any_store) == []
    assert collect_garbage(any_store, grace_s=0) == Garbage((), (), 0)


def test_what_is_young_stays(store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, tmp_path, "a", own=b"one")
    remove_refs("a", store, all_tags=True)
    assert collect_garbage(store) == Garbage((), (), 0)
    later(monkeypatch, DAY - 60)
    assert collect_garbage(store) == Garbage((), (), 0)
    later(monkeypatch, DAY + 60)
    gone = collect_garbage(store)
    assert (len(gone.manifests), len(gone.blobs), gone.bytes) == (1, 2, 9)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_blob_that_is_young_stays(any_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a publish under way: its manifest is not there yet."""
    digest = hashlib.sha256(b"new").hexdigest()
    any_store.put_blob(digest, 3, iter([b"new"]))
    assert collect_garbage(any_store) == Garbage((), (), 0)
    later(monkeypatch, DAY + 60)
    assert collect_garbage(any_store) == Garbage((), (digest,), 3)
    assert not any_store.has_blob(digest, 3)


def test_a_signature_goes_with_its_manifest(store: DirectoryStore, tmp_path: Path) -> None:
    digest = put(store, tmp_path, "a").digest
    store.write_signature(digest, b"signed")
    assert collect_garbage(store, grace_s=0).manifests == ()
    assert store.read_signature(digest) == b"signed"
    remove_refs("a", store, all_tags=True)
    collect_garbage(store, grace_s=0)
    assert store.read_signature(digest) is None


def test_a_damaged_manifest_stops_it_all(store: DirectoryStore, tmp_path: Path) -> None:
    good, bad = put(store, tmp_path, "a", own=b"a"), put(store, tmp_path, "b", own=b"b")
    (store.root / "manifests" / f"{bad.digest}.json").write_text("{}")
    (store.root / "refs/b/v1").unlink()
    before = sorted(store.root.rglob("*"))
    with pytest.raises(ManifestError, match=bad.digest):
        collect_garbage(store, grace_s=0)
    assert sorted(store.root.rglob("*")) == before
    # b@latest still names it: only what looks unused goes.
    assert collect_garbage(store, grace_s=0, force=True) == Garbage((), tuple(names(bad, "own")), 1)
    (store.root / "refs/b/latest").unlink()
    assert collect_garbage(store, grace_s=0, force=True) == Garbage((bad.digest,), (), 0)
    assert store.list_manifests() == [good.digest]
    assert verify(store) == []


class Meanwhile(DirectoryStore):
    """A store in which something happens once, at the n-th call of a method."""

    def __init__(self, root: Path, method: str, call: int, act: Callable[[], object]) -> None:
        super().__init__(root)
        self.method, self.left, self.act = method, call, act
        self.deleted: list[str] = []

    def _happen(self, method: str) -> None:
        self.left -= method == self.method
        if self.left == 0:
            self.left = -1
            self.act()

    def list_refs(self) -> list[Ref]:
        self._happen("list_refs")
        return super().list_refs()

    def list_manifests(self) -> list[str]:
        self._happen("list_manifests")
        return super().list_manifests()

    def delete_manifest(self, digest: str) -> None:
        self._happen("delete_manifest")
        self.deleted.append(digest)
        super().delete_manifest(digest)

    def delete_blob(self, digest: str) -> None:
        self._happen("delete_blob")
        super().delete_blob(digest)


@pytest.mark.parametrize(("method", "call"), [("list_manifests", 1), ("list_refs", 1), ("list_manifests", 2)])
def test_what_is_published_meanwhile_stays(store: DirectoryStore, tmp_path: Path, method: str, call: int) -> None:
    """A new model takes the very blobs that nothing named when gc began; no grace protects them."""
    put(store, tmp_path, "a", own=b"one")
    remove_refs("a", store, all_tags=True)
    busy = Meanwhile(store.root, method, call, lambda: put(store, tmp_path, "b", own=b"one"))
    collect_garbage(busy, grace_s=0)
    assert [ref.name for ref in store.list_refs()] == ["b", "b"]
    assert verify(store) == []


@pytest.mark.parametrize(("method", "call"), [("list_refs", 2), ("delete_manifest", 1), ("list_refs", 3)])
def test_a_ref_that_comes_back_meanwhile_keeps_its_manifest(
    store: DirectoryStore, tmp_path: Path, method: str, call: int
) -> None:
    digest = put(store, tmp_path, "a", own=b"one").digest
    store.write_signature(digest, b"signed")
    remove_refs("a", store, all_tags=True)
    busy = Meanwhile(store.root, method, call, lambda: store.write_ref("a", "v1", digest))
    assert collect_garbage(busy, grace_s=0) == Garbage((), (), 0)
    assert busy.deleted == ([] if (method, call) == ("list_refs", 2) else [digest])
    assert store.read_manifest(digest).name == "a"
    assert store.read_signature(digest) == b"signed"
    assert verify(store) == []


def test_what_is_lost_to_a_publish_in_the_very_moment_is_told(store: DirectoryStore, tmp_path: Path) -> None:
    put(store, tmp_path, "a", own=b"one")
    remove_refs("a", store, all_tags=True)
    busy = Meanwhile(store.root, "delete_blob", 1, lambda: put(store, tmp_path, "b", own=b"one"))
    with pytest.raises(CorruptBlob, match=r"b@(v1|latest) was published while gc ran.*model-store publish b"):
        collect_garbage(busy, grace_s=0)
    put(store, tmp_path, "b", own=b"one")
    assert verify(store) == []


def test_a_bare_name_means_all_tags_of_the_latest(store: DirectoryStore, tmp_path: Path) -> None:
    put(store, tmp_path, "a", "v1", own=b"one")
    put(store, tmp_path, "a", "v2", own=b"two")
    removed = remove_refs("a@v2", store)
    assert ([ref.tag for ref in removed.refs], [ref.tag for ref in removed.still_named]) == (["v2"], ["latest"])
    assert removed.bytes == 0
    removed = remove_refs("a", store)
    assert ([ref.tag for ref in removed.refs], removed.still_named, removed.bytes) == (["latest"], (), 3)
    assert [ref.tag for ref in remove_refs("a", store, all_tags=True).refs] == ["v1"]
    for all_tags in (False, True):
        with pytest.raises(NotPublished):
            remove_refs("a", store, all_tags=all_tags)


def test_a_node_cache_is_tidied_of_what_the_dead_left(
    store: DirectoryStore, cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_directory(write_model(tmp_path / "m", {"own": b"12345"}), store, "a")
    snapshot = fetch("a", store, cache)
    orphan = write_model(cache.root / "blobs/sha256/ff", {"f" * 64: b"123"}) / ("f" * 64)
    unmarked = write_model(cache.root / "snapshots" / ("e" * 64), {"x": b"1234567"})
    lease = cache.hold("d" * 64)
    lease.path.write_text(lease.path.read_text().replace(f'"pid": {os.getpid()}', '"pid": 999999999'))
    with staging_directory(cache.root / "staging") as stage:
        dead = stage.parent / "dead"
        stage.rename(dead)
        (dead / "owner.json").write_text((dead / "owner.json").read_text().replace('"started": "', '"started": "9'))
        with staging_directory(cache.root / "staging") as mine:
            young = tidy(cache, dry_run=True)
            assert young.staging == ("staging/dead",)
            assert (young.snapshots, young.blobs, young.bytes) == ((), (), 0)
            later(monkeypatch, DAY + 60)
            found = tidy(cache, dry_run=True)
            assert all(path.exists() for path in (orphan, unmarked, dead, lease.path))
            assert tidy(cache) == found
            assert mine.exists()
    assert (found.snapshots, found.blobs, found.bytes) == ((unmarked.name,), (orphan.name,), 10)
    assert found.leases == (lease.path.relative_to(cache.root).as_posix(),)
    assert not any(path.exists() for path in (orphan, unmarked, dead, lease.path))
    assert content(snapshot.path) == {"own": b"12345"}
    assert verify(cache) == []
    lease.release()


def test_what_is_held_is_not_debris(cache: NodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch between the rename and the mark."""
    unmarked = write_model(cache.root / "snapshots" / ("e" * 64), {"x": b"x"})
    later(monkeypatch, 2 * DAY)
    with cache.hold("e" * 64):
        assert tidy(cache).snapshots == ()
        assert unmarked.exists()
    assert tidy(cache).snapshots == ("e" * 64,)


def test_snapshots_are_removed_by_name(store: DirectoryStore, cache: NodeCache, tmp_path: Path) -> None:
    for revision in ("v1", "v2"):
        put(store, tmp_path, "a", revision, own=revision.encode())
        fetch(f"a@{revision}", store, cache)
    with pytest.raises(NotPublished, match=r"holds: a@v1, a@v2\."):
        remove_cached("b", cache)
    assert [use.model for use in remove_cached("a@v1", cache)] == ["a@v1"]
    second = cache.complete()
    cache.pin(second[0])
    with pytest.raises(CacheError, match=r"a@v2 .* is pinned\. model-store unpin a@v2"):
        remove_cached("a", cache)
    cache.unpin(second[0])
    with cache.hold(second[0]):
        with pytest.raises(CacheError, match=f"is used by .*pid {os.getpid()}"):
            remove_cached("a", cache, all_tags=True)
        assert cache.complete() == second
        assert [use.model for use in remove_cached("a", cache, force=True)] == ["a@v2"]
    assert cache.complete() == []
    assert [path for path in (cache.root / "blobs").rglob("*") if path.is_file()] == []
