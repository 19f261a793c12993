"""Starting as a container does: what the environment changes, what is fetched first, and what ends a start."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store import DirectoryStore, ModelInfo, publish
from model_store.bundle import export_bundle, import_bundle
from model_store.sources import DirectorySource
from serve_app import start
from serve_app.serve_config import ConfigError, load_serve_config
from tests.conftest import ROOT

LOCAL = ROOT / "configs" / "local.yaml"
DEMO = {"demo-whisper": ("whisper", "whisper-ct2"), "demo-align": ("align", "wav2vec2-ctc")}


def changed(folder: Path, **environment: str) -> dict[str, Any]:
    named = {f"RAYSCRIBE_{name}": value for name, value in environment.items()}
    config: dict[str, Any] = yaml.safe_load(start.adapted(LOCAL, named, folder).read_text())
    return config


def models(config: dict[str, Any]) -> dict[str, str]:
    stages = [app["args"] for app in config["applications"] if "preset" in app["args"]]
    return {args["preset"]: args["transcription"]["model"] for args in stages}


def test_without_wishes_the_config_is_used_as_it_is(tmp_path: Path) -> None:
    assert start.adapted(LOCAL, {}, tmp_path) == LOCAL


def test_the_environment_names_models_and_where_to_listen(tmp_path: Path) -> None:
    config = changed(tmp_path, MODELS="fast=whisper-base, high=whisper-small", HOST="0.0.0.0", PORT="9000")
    assert models(config) == {
        "fast": "whisper-base",
        "balanced": "demo-whisper",
        "high": "whisper-small",
        "premium": "demo-whisper",
    }
    assert (config["http_options"]["host"], config["http_options"]["port"]) == ("0.0.0.0", 9000)
    assert load_serve_config(tmp_path / "local.yaml").catalog is not None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MODELS": "fats=whisper-base"}, "no preset 'fats'.*fast"),
        ({"MODELS": "whisper-base"}, "'whisper-base' is no PRESET=MODEL"),
        ({"PORT": "http"}, "RAYSCRIBE_PORT: 'http' is no number"),
    ],
)
def test_a_wish_that_makes_no_sense_is_told(environment: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        changed(tmp_path, **environment)


@pytest.mark.parametrize(
    ("name", "value", "said"), [("METRICS_PORT", "none", "is no number"), ("DASHBOARD", "on", "is neither 0 nor 1")]
)
def test_a_value_that_makes_no_sense_is_told(
    name: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start.main([str(LOCAL)], {f"RAYSCRIBE_{name}": value}) == start.BAD_CONFIG
    assert f"RAYSCRIBE_{name}: '{value}' {said}" in capsys.readouterr().err


def test_a_model_that_the_catalog_lacks_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start.main([str(LOCAL)], {"RAYSCRIBE_MODELS": "fast=whisper-bsae"}) == start.BAD_CONFIG
    assert "whisper-base" in capsys.readouterr().err


def test_a_config_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert start.main([], {"RAYSCRIBE_CONFIG": "no/such.yaml"}) == start.BAD_CONFIG
    assert "cannot be read" in capsys.readouterr().err


@pytest.fixture
def store(tmp_path: Path, demo_models: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """A store with two of the three demo models, which the environment names."""
    store = DirectoryStore(tmp_path / "store")
    for name, (folder, kind) in DEMO.items():
        source = DirectorySource(folder, demo_models)
        publish(source, name, store, "v1", ModelInfo(kind, "MIT", ("en",)))
    monkeypatch.setenv("RAYSCRIBE_STORE", str(store.root))
    monkeypatch.setenv("RAYSCRIBE_CACHE", str(tmp_path / "cache"))
    return store


def test_all_snapshots_that_are_nowhere_end_the_start_with_their_mends(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle is carried once: what it lacks is told at once, with what makes and what reads the next."""
    export_bundle(["demo-whisper"], store, tmp_path / "models.bundle")
    site = DirectoryStore(tmp_path / "site")
    with (tmp_path / "models.bundle").open("rb") as file:
        import_bundle(file, site)
    monkeypatch.setenv("RAYSCRIBE_STORE", str(site.root))
    assert start.main([str(LOCAL)], {}) == start.NO_MODELS
    told = capsys.readouterr()
    assert [line.partition(":")[0] for line in told.out.splitlines()] == ["demo-whisper"]
    assert told.err.splitlines() == [
        *(
            f"{name}@latest is not in the store at {site.root}, which holds: demo-whisper. "
            f"To publish it: model-store publish {name} --store {site.root}"
            for name in ("demo-align", "demo-diarization")
        ),
        "Where no network reaches, there and then here:",
        "  model-store bundle export demo-align demo-diarization --out models.bundle",
        f"  model-store bundle import models.bundle --store {site.root}",
    ]


def test_each_snapshot_is_fetched_once(
    store: DirectoryStore, demo_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = ModelInfo("pyannote-pipeline", "MIT")
    publish(DirectorySource("diarization", demo_models), "demo-diarization", store, "v1", info)
    start.fetch_all(load_serve_config(LOCAL))
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len([*(tmp_path / "cache" / "snapshots").iterdir()]) == 3


def test_it_is_a_command(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "serve_app.start", "no/such.yaml"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == start.BAD_CONFIG
    assert "Traceback" not in done.stderr
