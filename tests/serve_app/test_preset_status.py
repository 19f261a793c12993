"""The state of a preset, read off Serve's overview."""

from types import SimpleNamespace

import pytest

from serve_app.preset_status import preset_status
from serve_app.presets import PresetStatus


def test_a_preset_that_cannot_start_says_why() -> None:
    trace = "The deployment failed to start 3 times in a row.\nTraceback …\nNotPublished: x is not in the store"
    stages = {"Transcription": SimpleNamespace(status="DEPLOY_FAILED", message=trace, replica_states={})}
    application = SimpleNamespace(status="DEPLOY_FAILED", message="Deploying failed.", deployments=stages)
    assert preset_status(application) == PresetStatus(
        "unhealthy", "Deploying failed. Transcription: NotPublished: x is not in the store", {"Transcription": 0}
    )


@pytest.mark.parametrize(
    ("status", "running", "state"),
    [
        ("RUNNING", {"Pipeline": 1, "Transcription": 1}, "ready"),
        ("RUNNING", {"Pipeline": 0, "Transcription": 0}, "asleep"),
        ("RUNNING", {"Pipeline": 1, "Transcription": 0}, "starting"),
        ("DEPLOYING", {"Pipeline": 0}, "starting"),
    ],
)
def test_the_state_follows_the_replicas(status: str, running: dict[str, int], state: str) -> None:
    stages = {name: SimpleNamespace(replica_states={"RUNNING": count}) for name, count in running.items()}
    found = preset_status(SimpleNamespace(status=status, message="", deployments=stages))
    assert (found.state, found.replicas) == (state, running)


def test_a_preset_that_is_not_deployed_yet_is_starting() -> None:
    assert preset_status(None).state == "starting"
