"""The order in which a service starts and ends, with stand-ins; tests/cluster/test_start.py has the real Ray."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray._private.node import Node

from serve_app.own_ray import DASHBOARD, LAST, RAY
from serve_app.serve_config import CheckedConfig, load_serve_config
from serve_app.serving import FAILED, serve_until_told
from tests.conftest import ROOT


@pytest.fixture
def config() -> CheckedConfig:
    return load_serve_config(ROOT / "configs" / "local.yaml")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back who hears of signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@dataclass
class Forks:
    """A fork server as the service sees it."""

    told: list[Any]

    def wait(self) -> bool:
        self.told.append("wait for imports")
        return True


@pytest.fixture
def statuses() -> list[dict[str, str]]:
    """What the applications are, each time that somebody asks; the last stays."""
    up = dict.fromkeys(["gateway", "fast", "balanced", "high", "premium"], "RUNNING")
    return [up, up, up, {"fast": "RUNNING"}]


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch, statuses: list[dict[str, str]]) -> list[Any]:
    """What Ray and Serve are told."""
    told: list[Any] = []

    def status() -> Any:
        now = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        return SimpleNamespace(applications={name: SimpleNamespace(status=state) for name, state in now.items()})

    def deploy(schema: Any, _blocking: bool) -> None:
        told.append(("deploy", [app.name for app in schema.applications]))

    def forks(later: list[str]) -> Any:
        told.append(("forks", [name.rpartition(":")[2] for name in later]))
        return nullcontext(Forks(told))

    def start(name: str) -> Any:
        def started(node: Any) -> None:
            told.append(name)
            if name == LAST[-1]:
                os.kill(os.getpid(), signal.SIGTERM)

        return started

    def init(address: str, **options: Any) -> None:
        told.append(("init", address, options["_metrics_export_port"]))
        for name in LAST:
            getattr(Node, name)(None)  # as the head does

    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("serve_app.own_ray.fork_server", forks)
    for name in LAST:
        monkeypatch.setattr(Node, name, start(name))
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: told.append("ray is left"))
    monkeypatch.setattr("ray.serve.shutdown", lambda: told.append("shutdown"))
    monkeypatch.setattr("ray.serve.delete", lambda name, _blocking: told.append(("delete", name)))
    monkeypatch.setattr("ray.serve.status", status)
    monkeypatch.setattr("ray.serve._private.api.serve_start", lambda **_: SimpleNamespace(deploy_apps=deploy))
    return told


def test_it_serves_until_told_and_closes_the_gateway_first(config: CheckedConfig, diary: list[Any]) -> None:
    assert serve_until_told(config, 8080) == 0
    assert diary == [
        ("forks", ["alignment", "diarization"]),
        ("init", "local", 8080),  # and not whichever Ray runs on this machine
        ("deploy", ["gateway", "fast", "balanced", "premium"]),  # no torch
        "wait for imports",
        ("deploy", ["gateway", "fast", "balanced", "high", "premium"]),
        *(name for name in LAST if name != DASHBOARD),
        ("delete", "gateway"),
        "shutdown",
        "ray is left",
    ]


def test_the_dashboard_comes_last_with_the_rest_where_it_is_wanted(config: CheckedConfig, diary: list[Any]) -> None:
    serve_until_told(config, dashboard=True)
    assert [told for told in diary if told in LAST] == [*LAST]


@pytest.mark.parametrize(("name", "value"), [("RAYSCRIBE_FORK_SERVER", "off"), ("RAY_ADDRESS", "127.0.0.1:6379")])
def test_workers_are_no_copies_where_that_is_said_or_ray_is_another_ones(
    config: CheckedConfig, diary: list[Any], name: str, value: str
) -> None:
    os.environ[name] = value
    assert serve_until_told(config) == 0
    address = os.environ.get("RAY_ADDRESS", "local")
    assert diary[:2] == [("init", address, None), ("deploy", ["gateway", "fast", "balanced", "high", "premium"])]


def test_what_the_environment_says_of_ray_holds(
    config: CheckedConfig, diary: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *others = RAY
    os.environ[name] = "7"
    serve_until_told(config)
    assert os.environ[name] == "7"
    assert {other: os.environ[other] for other in others} == {other: RAY[other] for other in others}


def test_serve_that_does_not_start_is_told_and_left(
    config: CheckedConfig, diary: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**options: Any) -> None:
        raise RuntimeError("the port is taken")

    monkeypatch.setattr("ray.serve._private.api.serve_start", fails)
    assert serve_until_told(config) == FAILED
    assert "Serve failed: the port is taken" in capsys.readouterr().err
    assert diary[-2:] == ["shutdown", "ray is left"]


def test_pods_have_the_same_settings_of_ray() -> None:
    pods = yaml.safe_load((ROOT / "kuberay" / "base" / "settings.yaml").read_text())["data"]
    assert {name: value for name, value in pods.items() if name in RAY or name.startswith("RAY_")} == RAY
