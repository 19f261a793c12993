"""The policy alone, in numbers, and inside Ray's own wrapper, which applies the delays, with a clock of our own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.serve import autoscaling_policy
from ray.serve._private.common import DeploymentID
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

from serve_app.autoscaling import Load, targets, wake_together
from tests.conftest import ROOT

ASLEEP = Load(ongoing=0, target_ongoing=4, replicas=0, fewest=0)
IDLE = ASLEEP._replace(replicas=1)
POLICY = "serve_app.autoscaling:wake_together"


@pytest.mark.parametrize("asked", ["Pipeline", "Transcription"])
def test_one_request_wakes_every_stage_at_once(asked: str) -> None:
    loads = {"Pipeline": ASLEEP, "Transcription": ASLEEP, "Alignment": ASLEEP._replace(lent=True)}
    assert targets({**loads, asked: ASLEEP._replace(ongoing=1)}) == dict.fromkeys(loads, 1)


def test_a_borrowed_call_wakes_the_stage_that_is_lent_and_no_other() -> None:
    lent = ASLEEP._replace(lent=True, ongoing=1)
    assert targets({"Pipeline": ASLEEP, "Transcription": ASLEEP, "Alignment": lent}) == {
        "Pipeline": 0,
        "Transcription": 0,
        "Alignment": 1,
    }


def test_a_stage_that_is_lent_and_at_work_keeps_no_other_awake() -> None:
    lent = IDLE._replace(lent=True, ongoing=8, replicas=2)
    assert targets({"Pipeline": IDLE, "Alignment": lent}) == {"Pipeline": 0, "Alignment": 2}


def test_stages_are_scaled_by_their_own_windows_running_and_queued() -> None:
    loads = {"Pipeline": IDLE._replace(ongoing=1), "Transcription": IDLE._replace(ongoing=32), "Alignment": IDLE}
    assert targets(loads) == {"Pipeline": 1, "Transcription": 8, "Alignment": 1}


def test_a_part_of_a_replica_is_a_whole_one() -> None:
    assert targets({"Transcription": IDLE._replace(ongoing=4.1)}) == {"Transcription": 2}
    assert targets({"Transcription": IDLE._replace(ongoing=0.1)}) == {"Transcription": 1}


def test_no_stage_goes_while_the_pipeline_has_a_request() -> None:
    assert targets({"Pipeline": IDLE._replace(ongoing=1), "Transcription": IDLE}) == {"Pipeline": 1, "Transcription": 1}


def test_idle_stages_go_to_zero_together_once_each_is_down_to_one() -> None:
    assert targets({"Pipeline": IDLE, "Transcription": IDLE._replace(replicas=4)}) == {
        "Pipeline": 1,
        "Transcription": 1,
    }
    assert targets({"Pipeline": IDLE, "Transcription": IDLE}) == {"Pipeline": 0, "Transcription": 0}


def test_what_sleeps_is_not_woken_by_what_shrinks() -> None:
    assert targets({"Pipeline": ASLEEP, "Alignment": IDLE._replace(replicas=4)}) == {"Pipeline": 0, "Alignment": 1}


def test_stages_that_never_sleep_do_not_keep_the_others_awake() -> None:
    assert targets({"Pipeline": IDLE, "Alignment": IDLE._replace(replicas=2, fewest=2)})["Pipeline"] == 0


@dataclass
class Clock:
    now: float = 1000.0

    def time(self) -> float:
        return self.now


@dataclass
class Deployment:
    config: AutoscalingConfig
    ongoing: float = 0
    target: int = 0
    running: int = 0
    state: dict[str, Any] = field(default_factory=dict)

    def context(self, name: str) -> AutoscalingContext:
        return AutoscalingContext(
            deployment_id=DeploymentID(name, "high"),
            deployment_name=name,
            app_name="high",
            current_num_replicas=self.running,
            target_num_replicas=self.target,
            running_replicas=[],
            total_num_requests=self.ongoing,
            total_queued_requests=0,
            aggregated_metrics=None,
            raw_metrics=None,
            capacity_adjusted_min_replicas=self.config.min_replicas,
            capacity_adjusted_max_replicas=self.config.max_replicas,
            policy_state=self.state,
            last_scale_up_time=None,
            last_scale_down_time=None,
            current_time=None,
            config=self.config,
        )


class App:
    """An application under Ray's wrapper of our policy, as its controller drives it; replicas start at once."""

    def __init__(self, clock: Clock, **deployments: Deployment) -> None:
        self.clock, self.deployments = clock, deployments
        policy: Callable[[Any], Any] = AutoscalingPolicy(policy_function=POLICY).get_policy()
        self._decide = autoscaling_policy._apply_app_level_autoscaling_config(policy)

    def after(self, seconds: float) -> dict[str, int]:
        """Return the targets once so much time has passed, with a tick at its start and its end."""
        self._tick()
        self.clock.now += seconds
        return self._tick()

    def _tick(self) -> dict[str, int]:
        contexts = {each.context(name).deployment_id: each.context(name) for name, each in self.deployments.items()}
        decisions, states = self._decide(contexts)
        for deployment, decision in decisions.items():
            each = self.deployments[deployment.name]
            each.state = states[deployment]
            each.target = min(each.config.max_replicas, max(each.config.min_replicas, decision))
        for each in self.deployments.values():
            each.running = each.target
        return {name: each.target for name, each in self.deployments.items()}


def decided(**deployments: Deployment) -> dict[str, int]:
    return wake_together({name: each.context(name) for name, each in deployments.items()})[0]


@pytest.mark.parametrize("stage", ["Alignment", "Diarization"])
def test_what_is_lent_is_known_by_its_name(stage: str) -> None:
    config = AutoscalingConfig(min_replicas=0)
    asked = {stage: Deployment(config, ongoing=1)}
    assert decided(Pipeline=Deployment(config), **asked) == {"Pipeline": 0, stage: 1}


def test_of_replicas_those_count_that_are_to_be_and_may_go() -> None:
    config, never_less = AutoscalingConfig(min_replicas=0), AutoscalingConfig(min_replicas=2, max_replicas=4)
    pipeline = Deployment(config, target=1, running=1)
    starting = Deployment(config, target=4, running=1)
    assert decided(Pipeline=pipeline, Transcription=starting) == {"Pipeline": 1, "Transcription": 1}
    assert decided(Pipeline=pipeline, Transcription=Deployment(never_less, target=2, running=2))["Pipeline"] == 0


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> App:
    clock = Clock()
    monkeypatch.setattr(autoscaling_policy, "time", clock)
    config = AutoscalingConfig(
        min_replicas=0,
        max_replicas=4,
        target_ongoing_requests=4,
        upscale_delay_s=2,
        downscale_delay_s=60,
        downscale_to_zero_delay_s=300,
    )
    return App(clock, Pipeline=Deployment(config), Transcription=Deployment(config))


def test_waking_passes_by_the_delay_and_growing_does_not(app: App) -> None:
    app.deployments["Pipeline"].ongoing = 1
    assert app.after(0) == {"Pipeline": 1, "Transcription": 1}
    app.deployments["Transcription"].ongoing = 100
    assert app.after(1) == {"Pipeline": 1, "Transcription": 1}
    assert app.after(1) == {"Pipeline": 1, "Transcription": 4}


def test_shrinking_and_sleeping_have_their_own_delays(app: App) -> None:
    app.deployments["Pipeline"].ongoing, app.deployments["Transcription"].ongoing = 1, 100
    app.after(2)
    assert app.after(2) == {"Pipeline": 1, "Transcription": 4}
    app.deployments["Pipeline"].ongoing = app.deployments["Transcription"].ongoing = 0
    assert app.after(59) == {"Pipeline": 1, "Transcription": 4}
    assert app.after(1) == {"Pipeline": 1, "Transcription": 1}
    assert app.after(299) == {"Pipeline": 1, "Transcription": 1}
    assert app.after(1) == {"Pipeline": 0, "Transcription": 0}


def test_a_request_in_the_last_second_keeps_all_awake(app: App) -> None:
    app.deployments["Pipeline"].ongoing = 1
    app.after(0)
    app.deployments["Pipeline"].ongoing = 0
    app.after(299)
    app.deployments["Transcription"].ongoing = 1
    assert app.after(300) == {"Pipeline": 1, "Transcription": 1}


def test_the_policy_needs_nothing_of_ours_where_it_is_unpickled() -> None:
    pickled = AutoscalingPolicy(policy_function=POLICY).get_serialized_policy_def()
    code = (
        "import sys, json; from ray import cloudpickle\n"
        f"cloudpickle.loads({pickled!r})({{}})\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('serve_app')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
