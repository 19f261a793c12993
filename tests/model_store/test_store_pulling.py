"""Pulling: what the store lacks is published once, and an error of the source is told."""

from pathlib import Path

import pytest
import yaml
from cli_helpers import run_cli
from hub_stand_in import COMMIT, Hub, serving
from store_helpers import FILES, CountingStore, content

from model_store import NodeCache, SourceUnreachable
from model_store.publishing.pulling import pull


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "configs" / "models.yaml"
    path.parent.mkdir()
    entry = {"kind": "whisper-ct2", "source": f"hub:org/model@{COMMIT}", "licence": "MIT"}
    path.write_text(yaml.safe_dump({"models": {"tiny": entry}}))
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    with serving(Hub(files=dict(FILES), large={"model.bin"})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


def test_what_the_store_lacks_is_published_though_this_process_is_offline(
    hub: Hub, store: CountingStore, cache: NodeCache, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    store.root.mkdir()
    snapshot = pull("tiny", store, cache, catalog=catalog)
    assert content(snapshot.path) == FILES
    assert snapshot.manifest.source.commit == COMMIT
    assert store.read_ref("tiny", "latest") == snapshot.digest


def test_what_is_there_asks_no_source(
    hub: Hub, store: CountingStore, cache: NodeCache, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.root.mkdir()
    first = pull("tiny", store, cache, catalog=catalog)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert pull("tiny", store, cache, catalog=Path("nowhere.yaml")).path == first.path


def test_a_source_that_cannot_be_reached_is_told_with_its_mend(
    store: CountingStore, cache: NodeCache, catalog: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    store.root.mkdir()
    with pytest.raises(SourceUnreachable, match=r"tiny@latest is not in the store.*org/model cannot be had.*network"):
        pull("tiny", store, cache, catalog=catalog)
    assert store.list_refs() == []


def test_command_line_prints_the_path(hub: Hub, store: CountingStore, cache: NodeCache, catalog: Path) -> None:
    store.root.mkdir()
    arguments = ["--store", store.url, "--cache", str(cache.root), "--catalog", str(catalog)]
    ran = run_cli("pull", "tiny", *arguments)
    assert (ran.code, content(Path(ran.out.strip()))) == (0, FILES)
