"""The state of a preset, read off Serve's overview of its application."""

from collections.abc import Mapping
from typing import Any

from serve_app.errors import PresetUnavailable
from serve_app.presets import PresetStatus, State


def no_room(preset: str, waited_s: float, status: PresetStatus) -> PresetUnavailable:
    """Return the error of a preset that lacked a replica for too long."""
    return PresetUnavailable(
        f"preset '{preset}' found no room to start in {waited_s:.0f} s ({status.message or status.state}); "
        "it needs more CPUs or GPUs than are free: see `GET /v1/presets` and `ray status`"
    )


def preset_status(application: Any) -> PresetStatus:
    """Read a preset's state off Serve's overview of its application; None where there is none."""
    if application is None:
        return PresetStatus("starting", "no application of this name is deployed yet")
    running = {name: stage.replica_states.get("RUNNING", 0) for name, stage in application.deployments.items()}
    return PresetStatus(*_state(application, running), running)


def _state(application: Any, running: Mapping[str, int]) -> tuple[State, str]:
    if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
        return "unhealthy", _reason(application)
    if running and all(running.values()):
        return "ready", ""
    if application.status == "RUNNING" and not running.get("Pipeline"):
        return "asleep", ""
    waiting = [name for name, count in running.items() if not count]
    return "starting", f"waiting for {', '.join(waiting) or 'replicas'}"


def _reason(application: Any) -> str:
    """Return the application's message and, for each deployment in trouble, the last line of its traceback."""
    troubled = {
        name: stage.message.strip().splitlines()[-1]
        for name, stage in application.deployments.items()
        if stage.status in ("DEPLOY_FAILED", "UNHEALTHY") and stage.message.strip()
    }
    return " ".join([application.message, *(f"{name}: {line}" for name, line in troubled.items())])
