"""How a replica gets its model: fetched as the store's arguments say, held, and told what it took."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from model_store import (
    DirectoryStore,
    ModelInfo,
    NodeCache,
    NotPublished,
    NotTrusted,
    Snapshot,
    make_keys,
    parse_source,
    publish,
    sign,
)
from serve_app.config import StoreArgs
from serve_app.loading import get_snapshot, gpu_share, load

INFO = ModelInfo("whisper-ct2", "Apache-2.0", ("en",), "int8", 60)


class Warmed:
    """A model that notes that it was warmed up."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.content = (snapshot.path / "model.bin").read_bytes()
        self.warm = False

    def warm_up(self) -> None:
        self.warm = True


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").write_bytes(b"weights")
    made = DirectoryStore(tmp_path / "store")
    publish(parse_source("directory:model", tmp_path), "tiny", made, "v1", INFO)
    return made


def arguments(tmp_path: Path, **further: object) -> StoreArgs:
    return StoreArgs.model_validate({"url": str(tmp_path / "store"), "cache": str(tmp_path / "cache"), **further})


def test_the_heap_is_set_before_anything_is_imported(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("serve_app.heap.keep", lambda: done.append("heap"))
    load("tiny", arguments(tmp_path), lambda: done.append("import"), Warmed)
    assert done == ["heap", "import"]


def test_a_model_is_loaded_warm_held_and_its_parts_are_told(
    store: DirectoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    imported: list[str] = []
    with caplog.at_level(logging.INFO, "ray.serve.rayscribe"):
        model = load("tiny", arguments(tmp_path), lambda: imported.append("library"), Warmed)
    assert (model.content, model.warm, imported) == (b"weights", True, ["library"])
    cache = NodeCache(tmp_path / "cache")
    assert len(list((cache.root / "leases").rglob("*.json"))) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("loaded tiny")]
    for part in ("import", "resolve", "fetch", "verify", "wait", "load", "warm_up"):
        assert f"{part} 0." in line


def test_a_model_that_nobody_trusted_signed_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    keys = make_keys()
    (tmp_path / "team.pub.pem").write_bytes(keys.public_pem)
    trusting = arguments(tmp_path, keys=[str(tmp_path / "team.pub.pem")])
    with pytest.raises(NotTrusted, match="tiny"):
        get_snapshot("tiny", trusting)
    digest = store.read_ref("tiny", "latest")
    assert digest is not None
    store.write_signature(digest, sign(store.read_manifest(digest), keys.private_pem))
    snapshot, lease = get_snapshot("tiny", trusting)
    lease.release()
    assert snapshot.digest == digest


def test_without_a_catalog_nothing_is_published_by_itself(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="model-store publish other"):
        get_snapshot("other", arguments(tmp_path))


def test_with_a_catalog_what_the_store_lacks_is_published(store: DirectoryStore, tmp_path: Path) -> None:
    catalog = tmp_path / "configs" / "models.yaml"
    catalog.parent.mkdir()
    catalog.write_text("models: {other: {kind: whisper-ct2, source: 'directory:model', licence: MIT}}")
    snapshot, lease = get_snapshot("other", arguments(tmp_path, catalog=str(catalog)))
    lease.release()
    assert (snapshot.path / "model.bin").read_bytes() == b"weights"


def test_outside_of_ray_no_gpu_is_shared() -> None:
    assert gpu_share() == 0.0


def test_inside_of_ray_the_share_is_what_was_granted(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_assigned_resources=lambda: {"CPU": 1.0, "GPU": 0.25})
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    assert gpu_share() == 0.25
