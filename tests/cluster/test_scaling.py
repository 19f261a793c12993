"""The autoscaling policy on a real cluster, over three small deployments that do what the test tells them."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from tests.cluster.conftest import BIN, Cluster, free_port
from tests.cluster.scaling_app import NAMES

pytestmark = pytest.mark.cluster
WITHIN_S = 120
ASLEEP = {name: {} for name in NAMES}


class Preset:
    """The miniature preset, deployed and asleep."""

    def __init__(self, cluster: Cluster, url: str, folder: Path) -> None:
        self._client, self.url, self.folder = ServeSubmissionClient(cluster.dashboard), url, folder

    def replicas(self) -> dict[str, dict[str, int]]:
        """Return how many replicas of each deployment are in which state."""
        deployments = self._client.get_serve_details()["applications"]["mini"]["deployments"]
        states: dict[str, dict[str, int]] = {name: {} for name in deployments}
        for name, deployment in deployments.items():
            for replica in deployment["replicas"]:
                states[name][replica["state"]] = states[name].get(replica["state"], 0) + 1
        return states

    def send(self, *windows: str) -> Callable[[], list[int]]:
        """Send a request of these windows; what is returned waits for its answer."""
        answers: list[Any] = []
        url = f"{self.url}/mini?windows={','.join(windows)}"
        request = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=WITHIN_S)))
        request.start()

        def answer() -> list[int]:
            request.join(WITHIN_S)
            assert answers, "no answer came"
            return list(answers[0].raise_for_status().json())

        return answer

    def go(self, *windows: str) -> None:
        """Let windows go."""
        for window in windows:
            (self.folder / f"go-{window}").touch()

    def forget_starts(self) -> None:
        """Let the replicas that start next wait for each other."""
        for name in NAMES:
            for path in self.folder.glob(f"{name}-*"):
                path.unlink()

    def wait_for_nobody(self) -> None:
        """Let a replica be ready without the others."""
        for name in NAMES:
            (self.folder / f"{name}-others").touch()

    def at_work(self, *windows: str) -> dict[str, set[str]]:
        """Return the windows that each process has in work, or had."""
        found: dict[str, set[str]] = {}
        for window in windows:
            for path in self.folder.glob(f"at-work-{window}-*"):
                found.setdefault(path.name.rpartition("-")[2], set()).add(window)
        return found

    def until(self, reached: Callable[[], bool], what: str) -> None:
        """Return once a condition holds."""
        deadline = time.monotonic() + WITHIN_S
        while not reached():
            assert time.monotonic() < deadline, f"never {what}: {self.replicas()}, {sorted(self.folder.iterdir())}"
            time.sleep(0.1)  # between two looks at a condition


@pytest.fixture(scope="module")
def preset(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Preset]:
    folder, port = tmp_path_factory.mktemp("scaling"), free_port()
    scaling = {
        **{"min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 2},
        **{"upscale_delay_s": 0, "downscale_delay_s": 1, "downscale_to_zero_delay_s": 2},
        **{"metrics_interval_s": 0.5, "look_back_period_s": 1, "aggregation_function": "max"},
    }
    app = {
        "name": "mini",
        "route_prefix": "/mini",
        "import_path": "tests.cluster.scaling_app:build",
        "args": {"folder": str(folder)},
        "autoscaling_policy": {"policy_function": "serve_app.autoscaling:wake_together"},
        "deployments": [{"name": name, "autoscaling_config": scaling} for name in NAMES],
    }
    other = {"name": "other", "route_prefix": "/other", "import_path": "tests.cluster.scaling_app:build_borrower"}
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [app, other]}
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump(config))
    for command in (["shutdown", "-y"], ["deploy", str(path)]):
        subprocess.run([BIN / "serve", *command, "-a", cluster.dashboard], check=True, capture_output=True)
    found = Preset(cluster, f"http://127.0.0.1:{port}", folder)
    found.until(lambda: _deployed(found), "deployed")
    yield found
    subprocess.run([BIN / "serve", "shutdown", "-y", "-a", cluster.dashboard], check=True, capture_output=True)


def _deployed(preset: Preset) -> bool:
    with suppress(httpx.TransportError, KeyError):
        routes = httpx.get(f"{preset.url}/-/routes", timeout=5)
        return routes.is_success and {"/mini", "/other"} <= set(routes.json()) and preset.replicas() == ASLEEP
    return False


def test_a_sleeping_preset_starts_all_its_stages_at_once_and_sleeps_again(preset: Preset) -> None:
    assert preset.replicas() == ASLEEP
    preset.forget_starts()
    answer = preset.send("first")  # no stage gets ready before all three have started
    preset.go("first")
    assert len(answer()) == 1
    preset.until(lambda: preset.replicas() == ASLEEP, "asleep again")


def test_a_burst_of_windows_takes_a_second_replica_and_the_last_windows_survive_its_end(preset: Preset) -> None:
    windows = [f"burst{number}" for number in range(8)]
    answer = preset.send(*windows)
    preset.until(lambda: preset.replicas()["Transcription"] == {"RUNNING": 2}, "at two replicas")
    preset.until(lambda: len(preset.at_work(*windows)) == 2, "at work on both")
    last = [min(mine) for mine in preset.at_work(*windows).values()]
    preset.go(*(window for window in windows if window not in last))
    preset.until(lambda: preset.replicas()["Transcription"] == {"RUNNING": 1, "STOPPING": 1}, "one replica stopping")
    preset.go(*last)
    pids = dict(zip(windows, answer(), strict=True))
    assert len({pids[window] for window in last}) == 2
    preset.until(lambda: preset.replicas() == ASLEEP, "asleep again")


def test_a_borrowed_call_wakes_what_is_borrowed_and_nothing_else(preset: Preset) -> None:
    preset.wait_for_nobody()
    assert preset.replicas() == ASLEEP
    assert httpx.get(f"{preset.url}/other", timeout=WITHIN_S).json() == 7
    assert preset.replicas() == {**ASLEEP, "Alignment": {"RUNNING": 1}}
    preset.until(lambda: preset.replicas() == ASLEEP, "asleep again")
