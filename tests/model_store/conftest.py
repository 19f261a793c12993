"""A published model, for all tests of the model store."""

from pathlib import Path

import pytest
from store_helpers import CountingStore, publish_directory, write_model

from model_store import NodeCache, Published


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAYSCRIBE_STORE", "RAYSCRIBE_CACHE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> NodeCache:
    return NodeCache(tmp_path / "cache")


@pytest.fixture
def published(model: Path, store: CountingStore) -> Published:
    done = publish_directory(model, store)
    (store.root / "reads").unlink(missing_ok=True)
    return done
