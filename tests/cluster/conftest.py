"""One real Ray cluster for the session; what runs on it changes from one module or folder to the next."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model_store import Catalog, ModelInfo, open_store, publish
from serve_app.own_ray import RAY
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
STARTS_WITHIN_S = 400
DEMO = {"whisper-ct2": "demo-whisper", "wav2vec2-ctc": "demo-align", "pyannote-pipeline": "demo-diarization"}


@dataclass(frozen=True)
class Cluster:
    """A one-node cluster without a network, with 16 CPUs and 4 GPUs in name only.

    `environment` leads every command to it; `noted` is a file of its processes' tries to reach another machine.
    """

    address: str
    dashboard: str
    environment: dict[str, str]
    noted: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the demo family."""
    path = tmp_path_factory.mktemp("store")
    subprocess.run([BIN / "model-store", "publish", "demo-*", "--store", path], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="session")
def real_names(store: Path) -> None:
    """Publish the demo models under the names of the real ones, in the same store."""
    catalog = Catalog.load(ROOT / "configs" / "models.yaml")
    for name, entry in catalog.entries.items():
        if entry.kind in DEMO and not name.startswith("demo-"):
            info = ModelInfo(kind=entry.kind, languages=("en",))
            publish(catalog.source(DEMO[entry.kind]), name, open_store(store), "test", info)


@pytest.fixture(scope="session")
def cluster(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    temporary = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets live in it
    port, dashboard = free_port(), free_port()
    environment = {
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "disabled",
        **RAY,
        "RAYSCRIBE_FORK_SERVER": "auto",
        "RAYSCRIBE_STORE": str(store),
        "RAYSCRIBE_CACHE": str(tmp_path_factory.mktemp("cache")),
        "RAYSCRIBE_JOBS": str(tmp_path_factory.mktemp("jobs")),
    }
    noted = tmp_path_factory.mktemp("noted") / "connections"
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent / "no_network"), os.environ.get("PYTHONPATH")]))
    denied = {"PYTHONPATH": path, "NOTED_CONNECTIONS": str(noted)}
    options = f"""
        --head --block --node-ip-address=127.0.0.1 --port={port} --num-cpus=16 --num-gpus=4 --temp-dir={temporary}
        --object-store-memory=500000000 --dashboard-port={dashboard} --dashboard-agent-listen-port=0
    """
    head = subprocess.Popen(
        [BIN / "ray", "start", *options.split()],
        env={**os.environ, **environment, **denied},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ.update(environment)
    _until_up(f"http://127.0.0.1:{dashboard}/api/version", head)
    yield Cluster(environment["RAY_ADDRESS"], f"http://127.0.0.1:{dashboard}", environment, noted)
    head.terminate()
    head.wait(60)
    shutil.rmtree(temporary, ignore_errors=True)


def _until_up(url: str, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        assert head.poll() is None, "ray start ended by itself"
        assert time.monotonic() < deadline, "the cluster never came up"
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(0.3)  # between two looks at a condition
