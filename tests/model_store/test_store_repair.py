"""Repair and copies: right bytes from wherever they are, and nothing but right bytes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, Hub, serving
from store_backends import WRITABLE, backend
from store_helpers import FILES, INFO, CountingStore, blob_of, content, publish_directory, write_model

from model_store import (
    Catalog,
    CorruptBlob,
    DirectoryStore,
    MissingManifest,
    NodeCache,
    NotPublished,
    Published,
    SourceUnreachable,
    Store,
    fetch,
    parse_source,
    publish,
    verify,
)
from model_store.upkeep.copying import copy_models
from model_store.upkeep.outdated import compare_with_hub
from model_store.upkeep.repair import Repaired, repair_cache, repair_store

CATALOG = "models: {demo-whisper: {kind: whisper-ct2, source: 'directory:model', licence: MIT}}"


def flip(file: Path) -> None:
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)


@pytest.fixture
def cached(store: CountingStore, cache: NodeCache, published: Published) -> Path:
    return fetch("demo-whisper", store, cache).path


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/models.yaml").write_text(CATALOG)
    return Catalog.load(tmp_path / "configs/models.yaml")


@pytest.mark.parametrize("name", ["demo-whisper", "demo-whisper@v1", "demo-whisper@latest"])
def test_a_flipped_bit_in_the_cache_is_fetched_again(
    store: CountingStore, cache: NodeCache, cached: Path, name: str
) -> None:
    assert repair_cache(name, cache, store) == []
    flip(cached / "model.bin")
    (cached / "config.json").unlink()
    done = repair_cache(name, cache, store)
    assert done == [Repaired("demo-whisper@v1", path) for path in ("config.json", "model.bin")]
    assert content(cached) == FILES


def test_a_digest_that_is_not_the_cached_one_is_not_here(store: CountingStore, cache: NodeCache, cached: Path) -> None:
    assert repair_cache(f"demo-whisper@sha256:{cached.name}", cache, store) == []
    for name in (f"demo-whisper@sha256:{'0' * 64}", "demo-whisper@v9", "other"):
        with pytest.raises(NotPublished, match="model-store fetch"):
            repair_cache(name, cache, store)


def test_a_store_is_repaired_from_the_node_cache(
    store: CountingStore, cache: NodeCache, published: Published, cached: Path, model: Path
) -> None:
    shutil.rmtree(model)
    flip(blob_of(store, published, "model.bin"))
    blob_of(store, published, "config.json").unlink()
    (store.root / "manifests" / f"{published.digest}.json").unlink()
    done = repair_store("demo-whisper", store, cache)
    assert sorted(one.path for one in done) == ["config.json", "manifest", "model.bin"]
    assert verify(store) == []
    assert repair_store("demo-whisper@v1", store, cache) == []


def test_a_store_is_repaired_from_the_catalogs_source(
    store: CountingStore, cache: NodeCache, published: Published, catalog: Catalog
) -> None:
    flip(blob_of(store, published, "model.bin"))
    assert [one.path for one in repair_store("demo-whisper", store, cache, catalog)] == ["model.bin"]
    assert verify(store) == []


def test_what_is_nowhere_right_is_told_and_the_rest_repaired(
    store: CountingStore, cache: NodeCache, published: Published, cached: Path, catalog: Catalog, model: Path
) -> None:
    flip(blob_of(store, published, "model.bin"))
    blob_of(store, published, "config.json").unlink()
    flip(cached / "model.bin")
    flip(model / "model.bin")
    with pytest.raises(CorruptBlob, match=r"model\.bin of demo-whisper@v1 .*cannot be repaired.*model-store copy"):
        repair_store("demo-whisper", store, cache, catalog)
    assert [problem.path for problem in verify(store)] == ["model.bin"]
    shutil.rmtree(model)
    with pytest.raises(CorruptBlob, match="There is no directory"):
        repair_store("demo-whisper", store, cache, catalog)


def test_a_lost_manifest_without_a_copy_stays_lost(
    store: CountingStore, cache: NodeCache, published: Published
) -> None:
    (store.root / "manifests" / f"{published.digest}.json").unlink()
    with pytest.raises(MissingManifest):
        repair_store("demo-whisper", store, cache)
    with pytest.raises(NotPublished, match="Did you mean demo-whisper"):
        repair_store("demo-whispr", store, cache)


@pytest.fixture(params=WRITABLE)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "target").mkdir()
    with backend(request.param, tmp_path / "target") as made:
        yield made.writer


def test_a_copy_is_the_same_and_made_once(store: CountingStore, published: Published, target: Store) -> None:
    store.write_signature(published.digest, b"signed")
    told: list[tuple[int, int]] = []
    (copied,) = copy_models("demo-whisper", store, target, lambda done, total: told.append((done, total)))
    assert (copied.manifest, copied.copied_bytes) == (published.manifest, published.manifest.size)
    assert target.list_refs() == store.list_refs()
    assert target.read_signature(published.digest) == b"signed"
    assert verify(target) == []
    assert told[-1] == (published.manifest.size, published.manifest.size)
    assert told == sorted(told)
    before = len(store.reads())
    (again,) = copy_models("demo-whisper@v1", store, target)
    assert (again.copied_bytes, [ref.tag for ref in again.refs], len(store.reads())) == (0, ["v1"], before)


def test_a_digest_without_a_ref_gets_one(store: CountingStore, published: Published, target: Store) -> None:
    for tag in ("latest", "v1"):
        store.delete_ref("demo-whisper", tag)
    copy_models(f"demo-whisper@sha256:{published.digest}", store, target)
    assert [(ref.name, ref.tag) for ref in target.list_refs()] == [("demo-whisper", "v1")]


def test_damage_in_the_origin_is_not_copied_and_its_store_named(
    store: CountingStore, published: Published, target: Store
) -> None:
    flip(blob_of(store, published, "model.bin"))
    with pytest.raises(CorruptBlob, match=f"model.bin .*damaged in the store at {store.url}.*model-store repair"):
        copy_models("demo-whisper", store, target)
    (store.root / "blobs").rename(store.root / "away")
    with pytest.raises(CorruptBlob, match=store.url):
        copy_models("demo-whisper", store, target)
    assert not target.has_blob(published.manifest.files[1].sha256, published.manifest.files[1].size)
    assert target.read_ref("demo-whisper", "latest") is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with serving(Hub(files={"model.bin": b"x" * 999}, large={"model.bin"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def test_a_store_is_repaired_from_the_hub(hub: Hub, store: CountingStore, cache: NodeCache, tmp_path: Path) -> None:
    done = publish(parse_source("hub:org/model"), "m", store, "v1", INFO)
    shutil.rmtree(tmp_path / "hf")
    blob_of(store, done, "model.bin").unlink()
    hub.requests.clear()
    assert repair_store("m", store, cache) == [Repaired("m@v1", "model.bin")]
    assert f"GET /api/models/org/model/revision/{COMMIT}" in hub.requests
    assert verify(store) == []


def test_what_the_hub_has_moved_on_from_is_outdated(
    hub: Hub, store: CountingStore, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(parse_source("hub:org/model"), "m", store, "v1", INFO)
    (same,) = compare_with_hub(store)
    assert (same.model, same.repository, same.current, same.outdated) == ("m", "org/model", COMMIT, False)
    monkeypatch.setattr("hub_stand_in.COMMIT", "f" * 40)
    (moved,) = compare_with_hub(store, "m")
    assert (moved.published, moved.current, moved.outdated) == (COMMIT, "f" * 40, True)
    assert compare_with_hub(store, "demo-whisper") == []
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable, match="Check the network"):
        compare_with_hub(store)


def test_copies_of_many_share_blobs(tmp_path: Path, store: CountingStore, published: Published) -> None:
    publish_directory(write_model(tmp_path / "second", {**FILES, "more": b"1"}), store, "demo-second")
    target = DirectoryStore(tmp_path / "other")
    copied = copy_models("demo-*", store, target)
    assert sum(one.copied_bytes for one in copied) == published.manifest.size + 1
    assert target.list_refs() == store.list_refs()
    assert os.listdir(target.root / "staging") == []
