"""A back end of another package: built and installed as users would, then found by its name and run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model_store import DirectoryStore, ModelInfo, publish
from model_store.sources import DirectorySource

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package is installed, built from its source, without a network."""
    root = tmp_path_factory.mktemp("third_party")
    source = shutil.copytree(data / "third_party_backend", root / "source")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    line = [sys.executable, "-m", "pip", "install", *offline, "--target", str(root / "site"), str(source)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root / "site"


def test_an_installed_package_is_run_by_its_name(site: Path, data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "threshold.json").write_text('{"rms": 0.001}')
    store = DirectoryStore(tmp_path / "store")
    publish(DirectorySource(str(model), model), "my-loudness", store, "v1", ModelInfo("loudness/rms", "MIT", ("en",)))
    environment = {
        **{"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)},
        **{"RAYSCRIBE_STORE": str(store.root), "RAYSCRIBE_CACHE": str(tmp_path / "cache")},
    }
    clip = str(data / "ten_seconds.flac")
    line = [sys.executable, "-m", "serve_app.transcribe", clip, "--backend", "loudness", "--language", "en"]
    done = subprocess.run([*line, "--model", "my-loudness"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["text"].split()) == {"loud"}
    wrong = subprocess.run(
        [*line, "--model", "my-loudness", "--initial_prompt", "x"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "takes no prompt" in wrong.stderr


def test_the_documents_show_this_very_package(data: Path) -> None:
    text = (ROOT / "docs" / "backends.md").read_text()
    for name in ("loudness_backend.py", "pyproject.toml"):
        assert (data / "third_party_backend" / name).read_text().strip() in text
