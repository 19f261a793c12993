"""The Hugging Face cache, read and written, with huggingface_hub's own code and without a network."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_stand_in import COMMIT, Hub, serving
from store_helpers import INFO, CountingStore, content, write_model

from model_store import Manifest, NodeCache, Published, UsageError, fetch, parse_source, publish, verify
from model_store.cache.hub_layout import HubCache, default_hub_cache, write_hub_view

FILES = {"config.json": b"{}", "model.bin": bytes(range(256)) * 8000, "sub/vocabulary.json": b"[]"}
REPOSITORY = "models--org--model"


def held_for(manifest: Manifest, root: Path | None = None) -> dict[str, Path]:
    """The likeliest file for each path of a manifest that a Hugging Face cache offers."""
    cache = HubCache(manifest, root)
    found = {entry.path: next(cache.local_candidates(entry), None) for entry in manifest.files}
    return {path: file for path, file in found.items() if file is not None}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 5)
    with serving(Hub(files=dict(FILES), large={"model.bin"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
        yield hub


@pytest.fixture
def published(hub: Hub, store: CountingStore) -> Published:
    """From the stand-in, so that `tmp_path/hf` is what huggingface_hub itself has written."""
    return publish(parse_source("hub:org/model@main"), "m", store, COMMIT, INFO)


def test_all_files_of_the_commit_are_found(published: Published, tmp_path: Path) -> None:
    found = held_for(published.manifest)
    assert {path: file.read_bytes() for path, file in found.items()} == FILES
    assert held_for(published.manifest, tmp_path / "nowhere") == {}


def test_big_files_are_found_at_other_commits_and_repositories(published: Published, tmp_path: Path) -> None:
    folder = tmp_path / "hf" / REPOSITORY
    (folder / "snapshots" / COMMIT).rename(folder / "snapshots" / ("0" * 40))
    assert list(held_for(published.manifest)) == ["model.bin"]
    folder.rename(tmp_path / "hf" / "models--somebody--else")
    assert held_for(published.manifest)["model.bin"].read_bytes() == FILES["model.bin"]
    elsewhere = published.manifest.model_copy(
        update={"source": published.manifest.source.model_copy(update={"url": "directory:m"})}
    )
    assert list(held_for(elsewhere)) == ["model.bin"]


def test_wrong_sizes_and_ways_out_are_not_offered(published: Published, tmp_path: Path) -> None:
    entry = next(entry for entry in published.manifest.files if entry.path == "model.bin")
    file = tmp_path / "hf" / REPOSITORY / "snapshots" / COMMIT / "model.bin"
    cache = HubCache(published.manifest)
    (found,) = cache.local_candidates(entry)
    assert found == file.resolve()
    outside = tmp_path / "outside"
    found.rename(outside)
    assert list(cache.local_candidates(entry)) == []  # the link hangs
    file.unlink()
    file.symlink_to(outside)
    assert list(cache.local_candidates(entry)) == []
    file.unlink()
    file.write_bytes(FILES["model.bin"][:-1])
    assert list(cache.local_candidates(entry)) == []


def test_a_fetch_takes_what_the_machine_holds_already(
    published: Published, store: CountingStore, cache: NodeCache
) -> None:
    (store.root / "reads").unlink(missing_ok=True)
    snapshot = fetch(published.manifest.name, store, cache)
    assert (snapshot.fetched_bytes, store.reads()) == (0, [])
    assert verify(snapshot) == []
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in snapshot.path.rglob("*") if path.is_file())


def test_a_fetch_does_not_believe_the_hugging_face_cache(
    published: Published, store: CountingStore, cache: NodeCache
) -> None:
    (store.root / "reads").unlink(missing_ok=True)
    entry = max(published.manifest.files, key=lambda entry: entry.size)
    held = next(HubCache(published.manifest).local_candidates(entry))
    held.write_bytes(bytes(entry.size))
    snapshot = fetch(published.manifest.name, store, cache)
    assert store.reads() == [entry.sha256]
    assert verify(snapshot) == []


def test_the_place_is_the_one_that_huggingface_hub_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_hub_cache() == Path("~/.cache/huggingface/hub").expanduser()
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_hub_cache() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert default_hub_cache() == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert default_hub_cache() == Path("/c")


@pytest.fixture
def view(published: Published, store: CountingStore, cache: NodeCache, tmp_path: Path, hub: Hub) -> Path:
    """A hub view of the cached model; the hub answers nothing from here on."""
    snapshot = fetch("m", store, cache)
    write_hub_view(snapshot.path, snapshot.manifest, tmp_path / "view")
    hub.fail_with = 500
    hub.requests.clear()
    return tmp_path / "view"


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_huggingface_hub_finds_all_of_it_offline(view: Path, hub: Hub, revision: str | None) -> None:
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache

    found = snapshot_download("org/model", revision=revision, cache_dir=view, local_files_only=True)
    assert found == str(view / REPOSITORY / "snapshots" / COMMIT)
    assert content(Path(found)) == FILES
    for path in FILES:
        assert try_to_load_from_cache("org/model", path, cache_dir=view, revision=revision) == f"{found}/{path}"
    file = hf_hub_download("org/model", "model.bin", revision=revision, cache_dir=view, local_files_only=True)
    assert Path(file).read_bytes() == FILES["model.bin"]
    assert try_to_load_from_cache("org/model", "other.bin", cache_dir=view, revision=revision) is None
    assert hub.requests == []


def test_huggingface_hub_scans_it_without_a_complaint(view: Path) -> None:
    from huggingface_hub import scan_cache_dir

    scanned = scan_cache_dir(view)
    assert scanned.warnings == []
    (repository,) = scanned.repos
    (revision,) = repository.revisions
    assert (repository.repo_id, repository.nb_files, repository.size_on_disk) == ("org/model", 3, 2_048_004)
    assert (revision.commit_hash, revision.refs) == (COMMIT, frozenset({"main"}))


def test_the_hub_downloads_nothing_again_into_a_view(view: Path, hub: Hub) -> None:
    """Blobs have the names that the hub gives them."""
    from huggingface_hub import snapshot_download

    hub.fail_with = 0
    (view / REPOSITORY / "snapshots" / COMMIT / "model.bin").unlink()
    found = snapshot_download("org/model", cache_dir=view, endpoint=hub.url)
    assert content(Path(found)) == FILES
    assert not [request for request in hub.requests if request.startswith("GET /org/model/resolve")]
    etags = {hashlib.sha256(FILES["model.bin"]).hexdigest()}
    etags |= {hashlib.sha1(b"blob 2\0" + FILES[path]).hexdigest() for path in ("config.json", "sub/vocabulary.json")}
    assert {path.name for path in (view / REPOSITORY / "blobs").iterdir()} == etags


def test_a_view_takes_no_space_and_follows_no_links(view: Path, cache: NodeCache, published: Published) -> None:
    shown = view / REPOSITORY / "snapshots" / COMMIT
    assert not any(path.is_symlink() for path in view.rglob("*"))
    for path in FILES:
        assert (shown / path).samefile(cache.snapshot_path(published.digest) / path)
    assert [path.name for path in (view / REPOSITORY).iterdir() if path.name.startswith(".")] == []


def test_another_file_system_gets_copies(
    published: Published, store: CountingStore, cache: NodeCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = fetch("m", store, cache)

    def cross_device(*paths: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", cross_device)
    shown = write_hub_view(snapshot.path, snapshot.manifest, tmp_path / "view")
    assert content(shown) == FILES
    assert not (shown / "model.bin").samefile(snapshot.path / "model.bin")


def test_what_a_hugging_face_cache_holds_already_is_kept(
    published: Published, store: CountingStore, cache: NodeCache, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "view" / REPOSITORY, {"refs/main": b"1" * 40, f"snapshots/{'1' * 40}/x": b"x"})
    write_model(folder / "snapshots" / COMMIT, {"config.json": b"theirs"})
    snapshot = fetch("m", store, cache)
    for _ in range(2):
        shown = write_hub_view(snapshot.path, snapshot.manifest, tmp_path / "view")
    assert (folder / "refs/main").read_bytes() == b"1" * 40
    assert (folder / "snapshots" / ("1" * 40) / "x").exists()
    assert content(shown) == {**FILES, "config.json": b"theirs"}


def test_a_model_from_elsewhere_has_no_place_there(store: CountingStore, cache: NodeCache, tmp_path: Path) -> None:
    write_model(tmp_path / "own", FILES)
    publish(parse_source(f"directory:{tmp_path / 'own'}"), "own", store, "v1", INFO)
    snapshot = fetch("own", store, cache)
    with pytest.raises(UsageError, match="not from a hub"):
        write_hub_view(snapshot.path, snapshot.manifest, tmp_path / "view")
    assert not (tmp_path / "view").exists()
