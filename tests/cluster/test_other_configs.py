"""The configs for servers and GPUs, put to the cluster by `serve deploy`, with the demo models under the real names.

The GPUs are resources that Ray counts and no card stands behind, so `device: cuda` becomes `cpu` here; fractions,
replicas, borrowed stages and sleeping presets stay as they are written.
"""

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import ray
import yaml

from benchmarks.scoring import plain
from model_store import ModelInfo, open_store, publish
from model_store.sources import DirectorySource
from serve_app.serve_config import check_serve_config
from tests.cluster.conftest import BIN, STARTS_WITHIN_S, Cluster, free_port
from tests.conftest import ROOT

pytestmark = pytest.mark.cluster
DATA = ROOT / "tests" / "data"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "single-gpu", "gpu"])
def test_a_config_deploys_and_answers(
    cluster: Cluster, real_names: None, name: str, tmp_path: Path, sample: Any
) -> None:
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    runnable = text.replace("device: cuda", "device: cpu").replace("compute_type: float16", "compute_type: default")
    config = yaml.safe_load(runnable)
    port = config["http_options"]["port"] = free_port()
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    _deploy(cluster, path)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=200, max_retries=0)
    states = _until(f"http://127.0.0.1:{port}/ready", _all_ready_or_asleep)
    awake = [preset for preset, state in states.items() if state["state"] == "ready"]
    assert awake
    for preset in awake:
        with sample("one_sentence").path.open("rb") as audio:
            answer = client.audio.transcriptions.create(model=preset, file=audio, response_format="diarized_json")
        assert len(plain(answer.text)) >= 4
        assert {segment.speaker for segment in answer.segments} == {"A"}
    assert _gpus_taken() == pytest.approx(_gpus_awake(text), abs=0.01)


@pytest.mark.slow
def test_presets_of_other_back_ends_answer(cluster: Cluster, store: Path, tmp_path: Path, sample: Any) -> None:
    backends = {"fast": "transformers", "balanced": "whisper-cpp"}
    config = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    apps = {app["name"]: app for app in config["applications"]}
    for preset, backend in backends.items():
        stage = {"model": _published(backend, store, tmp_path), "backend": backend, "device": "cpu"}
        named = {"name": preset, "route_prefix": f"/{preset}"}
        apps[preset] = {**apps["fast"], **named, "args": {"preset": preset, "transcription": stage}}
    apps["gateway"]["args"] = {"presets": list(backends)}
    port = config["http_options"]["port"] = free_port()
    path = tmp_path / "backends.yaml"
    path.write_text(yaml.safe_dump({**config, "applications": [apps[name] for name in ("gateway", *backends)]}))
    _deploy(cluster, path)
    _until(f"http://127.0.0.1:{port}/ready", _all_ready_or_asleep)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=200, max_retries=0)
    spoken = [word["text"] for word in json.loads((DATA / "one_sentence.json").read_text())["words"]]
    for preset in backends:
        with sample("one_sentence").path.open("rb") as audio:
            answer = client.audio.transcriptions.create(model=preset, file=audio, response_format="verbose_json")
        assert plain(answer.text) == spoken
        assert answer.segments[0].avg_logprob > -1


def _published(backend: str, store: Path, folder: Path) -> str:
    """Publish the demo Whisper in a back end's format; return the snapshot's name."""
    shipped, made = ROOT / "demo" / "models" / "whisper", folder / backend
    made.mkdir()
    if backend == "whisper-cpp":
        pytest.importorskip("_pywhispercpp")
        from training.whisper.to_ggml import to_ggml

        to_ggml(shipped, made / "ggml-demo.bin")
    else:
        from training.whisper.restore import to_transformers_folder

        to_transformers_folder(shipped, made)
    kind = {"whisper-cpp": "whisper-ggml", "transformers": "whisper-transformers"}[backend]
    publish(
        DirectorySource(str(made), made), f"demo-{backend}", open_store(store), "v1", ModelInfo(kind, "MIT", ("en",))
    )
    return f"demo-{backend}"


def test_a_model_that_nobody_published_is_told_with_its_mend(cluster: Cluster, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    (fast,) = (app for app in config["applications"] if app["name"] == "fast")
    fast["args"]["transcription"]["model"] = "demo-whispr"
    port = config["http_options"]["port"] = free_port()
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump({**config, "applications": [config["applications"][0], fast]}))
    _deploy(cluster, path)
    message = _until(f"http://127.0.0.1:{port}/ready", lambda presets: "demo-whispr" in presets["fast"]["message"])[
        "fast"
    ]
    assert message["state"] == "unhealthy"
    assert "demo-whisper" in message["message"]


def _deploy(cluster: Cluster, path: Path) -> None:
    for command in (["shutdown", "-y"], ["deploy", str(path)]):
        done = subprocess.run([BIN / "serve", *command, "-a", cluster.dashboard], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _until(url: str, reached: Callable[[Any], bool]) -> Any:
    """Return the presets' states once they are as wanted."""
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        with suppress(httpx.TransportError, ValueError):
            presets = httpx.get(url, timeout=5).json().get("presets")
            if presets and reached(presets):
                return presets
        assert time.monotonic() < deadline, "the config never got there"
        time.sleep(0.5)  # between two looks at a condition


def _all_ready_or_asleep(presets: Any) -> bool:
    return all(preset["state"] in ("ready", "asleep") for preset in presets.values())


def _gpus_taken() -> float:
    with ray.init(log_to_driver=False):
        return float(ray.cluster_resources()["GPU"] - ray.available_resources().get("GPU", 0.0))


def _gpus_awake(text: str) -> float:
    """Return the GPUs that the config reserves with its fewest replicas."""
    return sum(fewest for fewest, _ in check_serve_config(text, "test").gpus().values())
