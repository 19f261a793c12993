"""What comes up first, and what it does not wait for."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray.exceptions import RayActorError

from serve_app import rollout
from serve_app.own_ray import OwnRay
from serve_app.rollout import bring_up, long_imports, soon
from serve_app.serve_config import CheckedConfig, load_serve_config
from tests.conftest import ROOT

LIGHT, ALL = ["gateway", "fast", "balanced", "premium"], ["gateway", "fast", "balanced", "high", "premium"]


@pytest.fixture(scope="module")
def config() -> CheckedConfig:
    return load_serve_config(ROOT / "configs" / "local.yaml")


class Stage:
    """Serve, Ray and whoever tells the service to stop; `states` are those that an application goes through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, states: dict[str, list[str]]) -> None:
        self.deployed: list[list[str]] = []
        self.told = threading.Event()
        self.told_at: str | None = None
        self.lost = 0
        self.imported = threading.Event()
        self.imported.set()
        self._states = states
        monkeypatch.setattr("ray.serve.status", self._status)

    def bring_up(self, config: CheckedConfig, ray: OwnRay | None = None) -> list[str]:
        rest: list[str] = []
        ray = ray or OwnRay(self)  # type: ignore[arg-type]
        ray.held_back.append(lambda: rest.append("the rest"))
        bring_up(config, self, ray, self.told)
        return rest

    def deploy_apps(self, schema: Any, _blocking: bool) -> None:
        self.deployed.append([app.name for app in schema.applications])

    def wait(self) -> bool:
        if self.told_at == "imports":
            self.told.set()
        return self.imported.wait()

    def _status(self) -> Any:
        if self.lost:
            self.lost -= 1
            raise RayActorError
        if self.told_at == "status":
            self.told.set()
        return SimpleNamespace(applications={name: self._state(name) for name in self.deployed[-1]})

    def _state(self, name: str) -> Any:
        states = self._states.get(name, ["RUNNING"])
        return SimpleNamespace(status=states.pop(0) if len(states) > 1 else states[0])


def test_presets_without_torch_come_first(monkeypatch: pytest.MonkeyPatch, config: CheckedConfig) -> None:
    stage = Stage(monkeypatch, {"fast": ["NOT_STARTED", "DEPLOYING", "RUNNING"], "high": ["DEPLOYING", "RUNNING"]})
    assert stage.bring_up(config) == ["the rest"]
    assert stage.deployed == [LIGHT, ALL]
    assert [name.rpartition(":")[2] for name in long_imports(config)] == ["alignment", "diarization"]


def test_one_that_fails_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, config: CheckedConfig) -> None:
    stage = Stage(monkeypatch, {"fast": ["DEPLOYING", "DEPLOY_FAILED"], "high": ["UNHEALTHY"]})
    assert stage.bring_up(config) == ["the rest"]
    assert stage.deployed == [LIGHT, ALL]


def test_a_controller_that_is_replaced_meanwhile_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, config: CheckedConfig
) -> None:
    stage = Stage(monkeypatch, {"fast": ["DEPLOYING", "RUNNING"]})
    stage.lost = 2
    assert stage.bring_up(config) == ["the rest"]
    assert stage.deployed == [LIGHT, ALL]


def test_one_that_takes_too_long_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, config: CheckedConfig) -> None:
    monkeypatch.setattr(rollout, "PATIENCE_S", 0.3)
    stage = Stage(monkeypatch, {"fast": ["DEPLOYING"]})
    assert stage.bring_up(config) == ["the rest"]
    assert stage.deployed == [LIGHT, ALL]


def test_workers_that_are_no_copies_come_up_together(monkeypatch: pytest.MonkeyPatch, config: CheckedConfig) -> None:
    stage = Stage(monkeypatch, {})
    stage.bring_up(config, OwnRay())
    assert stage.deployed == [ALL]


def test_a_preset_whose_back_end_is_on_torch_is_none_of_the_first(tmp_path: Any) -> None:
    document = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    (fast,) = [app for app in document["applications"] if app["name"] == "fast"]
    fast["args"]["transcription"] = {"model": "demo-whisper", "device": "cpu", "backend": "transformers"}
    path = tmp_path / "local.yaml"
    path.write_text(yaml.safe_dump(document))
    assert soon(load_serve_config(path)) == ["gateway", "balanced", "premium"]


def test_where_all_need_torch_all_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    document = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    document["applications"] = [app for app in document["applications"] if app["name"] in ("gateway", "high")]
    document["applications"][0]["args"] = {"presets": ["high"]}
    path = tmp_path / "high.yaml"
    path.write_text(yaml.safe_dump(document))
    config = load_serve_config(path)
    stage = Stage(monkeypatch, {})
    stage.bring_up(config)
    assert soon(config) == []
    assert stage.deployed == [["gateway", "high"]]


@pytest.mark.parametrize("at", ["status", "imports"])
def test_once_told_to_stop_nothing_more_is_started(
    monkeypatch: pytest.MonkeyPatch, config: CheckedConfig, at: str
) -> None:
    stage = Stage(monkeypatch, {"fast": ["DEPLOYING", "DEPLOYING", "RUNNING"]})
    stage.told_at = at
    stage.imported.clear()  # they never end
    assert stage.bring_up(config) == []
    assert stage.deployed == [LIGHT]
    stage.imported.set()
