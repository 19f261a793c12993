"""The doctor: what works is ok, what is slow is a warning, what cannot work fails."""

import fcntl
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_helpers import CountingStore, blob_of, publish_directory, write_model

from model_store import NodeCache, Published, fetch
from model_store.upkeep.doctor import Finding, examine, file_system

MOUNTS = """/dev/vda / ext4 rw 0 0
server:/models /mnt/models nfs4 rw 0 0
tmpfs /mnt/models/quick tmpfs rw 0 0
/dev/vdb /mnt/with\\040space xfs rw 0 0
old /mnt/twice ext4 rw 0 0
new /mnt/twice nfs rw 0 0
"""


def found(store: object, cache: NodeCache) -> dict[str, Finding]:
    return {one.name: one for one in examine(str(store), cache)}


def states(findings: dict[str, Finding], state: str) -> set[str]:
    return {name for name, one in findings.items() if one.state == state}


def test_all_is_well(store: CountingStore, cache: NodeCache, published: Published) -> None:
    fetch("demo-whisper", store, cache)
    before = sorted(path for root in (store.root, cache.root) for path in root.rglob("*"))
    findings = found(store.root, cache)
    assert states(findings, "fail") == set()
    assert states(findings, "ok") >= {
        "store",
        "store contents",
        "store writing",
        "cache",
        "hard links",
        "locks",
        "quota",
    }
    assert "1 models" in findings["store"].text
    assert f"uid {os.getuid()}" in findings["cache"].text
    assert "Python 3." in findings["versions"].text
    assert sorted(path for root in (store.root, cache.root) for path in root.rglob("*")) == before


def test_an_absent_store_fails(tmp_path: Path, cache: NodeCache) -> None:
    findings = found(tmp_path / "nowhere", cache)
    assert states(findings, "fail") == {"store"}
    assert "mount the volume" in findings["store"].mend
    assert found("gopher://x", cache)["store"].state == "fail"


def test_an_empty_store_and_a_lost_blob(
    tmp_path: Path, store: CountingStore, cache: NodeCache, published: Published
) -> None:
    (tmp_path / "empty").mkdir()
    assert found(tmp_path / "empty", cache)["store contents"].state == "warn"
    blob_of(store, published, "config.json").unlink()
    assert found(store.root, cache)["store contents"].state == "fail"


def test_a_store_that_can_only_be_read_is_a_warning(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "refs").rename(store.root / "kept")
    (store.root / "refs").write_text("")  # as root no mode stops writing; a file in the way does
    findings = found(store.root, cache)
    assert findings["store writing"].state == "warn"
    assert states(findings, "fail") == set()


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, store: CountingStore, published: Published) -> None:
    (tmp_path / "file").write_text("")
    findings = found(store.root, NodeCache(tmp_path / "file" / "cache"))
    assert states(findings, "fail") == {"cache"}
    assert "RAYSCRIBE_CACHE" in findings["cache"].mend


def test_missing_abilities_are_warnings(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(fcntl, "flock", lambda file, operation: None)  # as on a network file system
    monkeypatch.setattr("model_store.upkeep.doctor.file_system", lambda path: "nfs4")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4_000_000_000))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    findings = found(store.root, cache)
    assert states(findings, "warn") == {"hard links", "locks", "file system", "free space", "hub"}
    assert all(findings[name].mend for name in states(findings, "warn"))
    assert "does not keep another process out" in findings["locks"].text


def test_a_lock_that_is_refused_is_a_warning(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert "No locks available" in found(store.root, cache)["locks"].text


def test_a_quota_is_compared(tmp_path: Path, store: CountingStore, cache: NodeCache, published: Published) -> None:
    publish_directory(write_model(tmp_path / "small", {"x": b"x" * 2000}), store, "small")
    fetch("small", store, cache)
    assert found(store.root, NodeCache(cache.root, quota_bytes=1999))["quota"].state == "warn"
    within = found(store.root, NodeCache(cache.root, quota_bytes=2000))["quota"]
    assert (within.state, within.text) == ("ok", "2.0 kB are used of 2.0 kB")


def test_tokens_are_not_shown(
    store: CountingStore, cache: NodeCache, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    findings = found(store.root, cache)
    assert findings["HF_TOKEN"].text == "is set"
    assert findings["HF_ENDPOINT"].text == "http://mirror"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/x", "ext4"),
        ("/mnt/models/x", "nfs4"),
        ("/mnt/models-too", "ext4"),
        ("/mnt/models/quick/x", "tmpfs"),
        ("/mnt/with space/x", "xfs"),
        ("/mnt/twice", "nfs"),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount_point(path: str, kind: str) -> None:
    assert file_system(Path(path), lambda: MOUNTS) == kind
