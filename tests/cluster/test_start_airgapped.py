"""The way into an air-gapped site, walked with networking off: a bundle, one command, a service, its end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scoring import plain, word_error_rate
from serve_app.serve_config import load_serve_config
from tests.cluster.conftest import STARTS_WITHIN_S
from tests.conftest import ROOT
from tests.namespaces import alone

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NO_NETWORK = "--net --pid --fork --kill-child --mount-proc"
"""Nothing but loopback; and what is left of the site ends with it."""


@pytest.fixture
def bundle(store: Path, tmp_path: Path) -> Path:
    """What `configs/local.yaml` names, as its operator would export it."""
    presets = load_serve_config(ROOT / "configs" / "local.yaml").presets.values()
    names = sorted({name for args in presets for name in args.models()})
    line = [sys.executable, "-m", "model_store", "bundle", "export", *names]
    subprocess.run([*line, "--out", tmp_path / "models.bundle", "--store", store], cwd=ROOT, check=True)
    return tmp_path / "models.bundle"


def test_a_bundle_is_all_that_a_site_without_network_needs(bundle: Path, sample: Any, tmp_path: Path) -> None:
    site, said = alone(NO_NETWORK, "ip link set lo up"), sample("ten_seconds")
    line = [*site, sys.executable, "-m", "tests.cluster.airgapped_site", bundle, said.path, tmp_path / "site"]
    with (tmp_path / "log").open("w+") as log:
        done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, timeout=STARTS_WITHIN_S + 400)
        assert done.returncode == 0, Path(log.name).read_text()[-5000:]
    told = json.loads(done.stdout)
    assert (told["interfaces"], told["outside"]) == (["lo"], "ENETUNREACH")
    assert {ref["name"] for ref in told["refs"]} == {"demo-whisper", "demo-align", "demo-diarization"}
    assert word_error_rate(plain(" ".join(said.words)), plain(told["text"])) == 0
    assert told["exit_code"] == 0
