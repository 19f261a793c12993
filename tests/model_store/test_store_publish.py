"""Publishing: what lands in the store, what does not, and that twice is once."""

import errno
import multiprocessing
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from store_helpers import FILES, INFO, CountingStore, blob_of, publish_directory, write_model

from model_store import (
    CorruptBlob,
    Extra,
    ModelStoreError,
    NodeCache,
    Published,
    SourceNotFound,
    StoreFull,
    StoreUnreachable,
    UnsafePath,
    UsageError,
    fetch,
    open_store,
    parse_source,
    publish,
    verify,
)


def modes(root: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")}


def test_layout_and_modes_whatever_the_umask(model: Path, store: CountingStore) -> None:
    before = os.umask(0o077)
    try:
        done = publish_directory(model, store)
    finally:
        os.umask(before)
    assert (store.root / "manifests" / f"{done.digest}.json").read_bytes() == done.manifest.canonical()
    assert (store.root / "refs/demo-whisper/v1").read_text() == f"{done.digest}\n"
    assert store.read_ref("demo-whisper", "latest") == done.digest
    assert modes(store.root / "blobs") == {(True, 0o755), (False, 0o444)}
    assert modes(store.root / "manifests") == {(False, 0o644)}
    assert not list((store.root / "staging").iterdir())


def test_manifest_says_what_was_published(published: Published) -> None:
    manifest = published.manifest
    assert {file.path: file.size for file in manifest.files} == {path: len(data) for path, data in FILES.items()}
    assert (manifest.kind, manifest.languages, manifest.memory_mb) == ("whisper-ct2", ("en",), 60)
    assert manifest.source.url == "directory:model"
    assert manifest.pickle is False


def test_publishing_twice_changes_nothing(
    model: Path, store: CountingStore, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    again = publish_directory(model, store)
    assert (again.digest, again.reused, again.uploaded_bytes) == (published.digest, True, 0)
    assert {p: s for p, s in stamp.items() if "blobs" in p.parts or "refs" in p.parts}.items() <= {
        path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()
    }.items()


def test_other_content_or_info_gives_another_digest(model: Path, store: CountingStore, published: Published) -> None:
    info = publish_directory(model, store, info=replace(INFO, licence="MIT"))
    (model / "config.json").write_bytes(b"{}")
    changed = publish_directory(model, store)
    assert len({published.digest, info.digest, changed.digest}) == 3
    assert changed.uploaded_bytes == 2
    assert store.read_ref("demo-whisper", "latest") == changed.digest


def test_publishing_again_mends_missing_and_damaged_blobs(
    model: Path, store: CountingStore, published: Published
) -> None:
    blob_of(store, published, "config.json").unlink()
    damaged = blob_of(store, published, "model.bin")
    damaged.write_bytes(b"x" * len(FILES["model.bin"]))
    assert {problem.path for problem in verify(store)} == {"config.json", "model.bin"}
    again = publish_directory(model, store)
    assert again.digest == published.digest
    assert again.uploaded_bytes == len(FILES["config.json"]) + len(FILES["model.bin"])
    assert verify(store) == []


@pytest.mark.parametrize(
    ("content", "pickled"), [(b"PK\x03\x04zip", True), (b"\x80\x02}q", True), (b"\x06\x00\x00\x00", False)]
)
def test_pickles_are_flagged_by_content(tmp_path: Path, store: CountingStore, content: bytes, pickled: bool) -> None:
    root = write_model(tmp_path / "m", {"pytorch_model.bin": content, "plda.npz": b"PK\x03\x04npz"})
    assert publish_directory(root, store).manifest.pickle is pickled


def test_hidden_files_stay_behind(model: Path, store: CountingStore) -> None:
    write_model(model, {".git/config": b"x", ".DS_Store": b"x"})
    assert {file.path for file in publish_directory(model, store).manifest.files} == set(FILES)


def test_extra_source_lands_below_its_path(tmp_path: Path, model: Path, store: CountingStore) -> None:
    punkt = write_model(tmp_path / "punkt", {"tokenizers/x.tab": b"t"})
    extra = (Extra(parse_source(f"directory:{punkt}"), "nltk"),)
    done = publish(parse_source(f"directory:{model}"), "a", store, "v1", INFO, extra=extra)
    assert {file.path for file in done.manifest.files} == {*FILES, "nltk/tokenizers/x.tab"}
    assert [origin.url for origin in done.manifest.extra] == ["directory:punkt"]
    clash = (Extra(parse_source(f"directory:{write_model(tmp_path / 'c', {'config.json': b'other'})}"), ""),)
    with pytest.raises(UsageError, match=r"config\.json"):
        publish(parse_source(f"directory:{model}"), "a", store, "v1", INFO, extra=clash)


def _link_out(model: Path) -> None:
    (model / "link").symlink_to("/etc/hostname")


def _linked_directory(model: Path) -> None:
    (model / "more").symlink_to(model / "nltk_data", target_is_directory=True)


def _fifo(model: Path) -> None:
    os.mkfifo(model / "pipe")


def _case_twins(model: Path) -> None:
    (model / "CONFIG.JSON").write_bytes(b"")


def _backslash(model: Path) -> None:
    (model / "a\\b").write_bytes(b"")


@pytest.mark.parametrize("spoil", [_link_out, _linked_directory, _fifo, _case_twins, _backslash])
def test_unsafe_sources_are_refused(model: Path, store: CountingStore, spoil: Callable[[Path], None]) -> None:
    spoil(model)
    with pytest.raises(UnsafePath):
        publish_directory(model, store)
    assert not (store.root / "refs").exists()


def test_snapshot_of_a_hugging_face_cache_can_be_published(tmp_path: Path, store: CountingStore) -> None:
    blobs = write_model(tmp_path / "models--x/blobs", {"abc": b"weights"})
    snapshot = tmp_path / "models--x/snapshots/c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").symlink_to("../../blobs/abc")
    done = publish_directory(snapshot, store)
    assert [(file.path, file.size) for file in done.manifest.files] == [("model.bin", 7)]
    assert (blobs / "abc").exists()


def test_missing_and_empty_directories_are_named(tmp_path: Path, store: CountingStore) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(SourceNotFound, match=str(path)):
            publish(parse_source(f"directory:{path}"), "a", store, "v1", INFO)


def test_package_files_can_be_published(store: CountingStore) -> None:
    done = publish(parse_source("package:pydantic/pydantic/v1", allow=("*.py",)), "p", store, "v1", INFO)
    paths = {file.path for file in done.manifest.files}
    assert {"__init__.py", "main.py"} <= paths
    assert done.manifest.source.commit
    with pytest.raises(SourceNotFound, match="pip install no-such-thing-here"):
        parse_source("package:no-such-thing-here/x").collect()


@pytest.mark.parametrize("spec", ["", "directory:", "ftp:x", "models/x"])
def test_unknown_sources_are_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="directory:PATH"):
        parse_source(spec)


def test_interrupted_publish_leaves_the_old_model_whole(
    model: Path, store: CountingStore, published: Published, cache: NodeCache
) -> None:
    write_model(model, {"model.bin": b"new", "zz.bin": b"never"})

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(parse_source(f"directory:{model}"), "demo-whisper", store, "v1", INFO, progress=stop)
    assert not list((store.root / "staging").iterdir())
    assert fetch("demo-whisper@v1", store, cache).digest == published.digest
    assert publish_directory(model, store).reused is False
    assert verify(store) == []


def test_killed_publish_is_swept_by_the_next(model: Path, store: CountingStore, published: Published) -> None:
    write_model(model, {"model.bin": b"new" * 3_000_000})

    def die(done: int, total: int) -> None:
        if done > 4_500_000:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        publish(parse_source(f"directory:{model}"), "demo-whisper", store, "v2", INFO, progress=die)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert len(list((store.root / "staging").iterdir())) == 1
    assert store.read_ref("demo-whisper", "v2") is None
    assert store.read_ref("demo-whisper", "latest") == published.digest
    publish_directory(model, store, revision="v2")
    assert not list((store.root / "staging").iterdir())
    assert verify(store) == []


def test_full_store_says_so_and_keeps_nothing(model: Path, store: CountingStore) -> None:
    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreFull, match="No space is left in the store"):
        publish(parse_source(f"directory:{model}"), "a", store, "v1", INFO, progress=full)
    assert not list((store.root / "staging").iterdir())
    assert not (store.root / "refs").exists()


def test_file_that_changes_while_it_is_published_is_refused(model: Path, store: CountingStore) -> None:
    class Changing(CountingStore):
        def has_blob(self, digest: str, size: int) -> bool:
            (model / "config.json").write_bytes(b'{"a": 2}')
            return super().has_blob(digest, size)

    with pytest.raises(CorruptBlob, match="changed while it was published"):
        publish_directory(model, Changing(store.root))
    assert not (store.root / "refs").exists()
    assert not list((store.root / "staging").iterdir())


def test_absent_store_is_not_an_empty_store(tmp_path: Path) -> None:
    store = open_store(tmp_path / "nothing")
    with pytest.raises(StoreUnreachable, match="RAYSCRIBE_STORE"):
        store.list_refs()
    with pytest.raises(StoreUnreachable):
        store.read_ref("a", "latest")


def test_names_that_are_part_of_another_are_refused(model: Path, store: CountingStore) -> None:
    publish_directory(model, store, name="a", revision="b")
    with pytest.raises(UsageError, match="a/b"):
        publish_directory(model, store, name="a/b", revision="v1")


def test_open_store_reads_paths_and_urls(tmp_path: Path) -> None:
    assert open_store(f"file://{tmp_path}/a%20b").url == f"{tmp_path}/a b"
    assert open_store(str(tmp_path)).url == str(tmp_path)
    with pytest.raises(ModelStoreError, match=r"gs://.*s3://bucket"):
        open_store("gs://bucket/models")
