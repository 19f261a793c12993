"""Nothing in a replica looks for another machine: the cluster of the tests has no way out, and notes who tries."""

import subprocess
import sys
from typing import Any

import openai
import pytest

from tests.cluster.conftest import Cluster

pytestmark = pytest.mark.cluster


def test_no_replica_tries_to_reach_another_machine(client: openai.OpenAI, cluster: Cluster, sample: Any) -> None:
    """Loading models or hearing a file: of all presets, whatever was noted since the cluster started."""
    for preset in ("fast", "balanced", "high", "premium"):
        client.audio.transcriptions.create(model=preset, file=sample("one_sentence").path, response_format="text")
    noted = cluster.noted.read_text().splitlines() if cluster.noted.exists() else []
    assert [line for line in noted if line.startswith("ray::")] == []


def test_the_note_taker_sees_what_a_task_does(cluster: Cluster) -> None:
    """The test above can fail: a process of the cluster that looks outside is stopped and noted."""
    code = (
        "import ray, urllib.request; ray.init(log_to_driver=False)\n"
        "@ray.remote\n"
        "def look(): urllib.request.urlopen('http://model.example', timeout=5)\n"
        "try: ray.get(look.remote())\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=120)
    assert "no way out" in done.stdout, done.stderr
    tried = [line for line in cluster.noted.read_text().splitlines() if line.startswith("ray::look\t")]
    assert any("model.example" in line for line in tried)
