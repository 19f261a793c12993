"""The order in which a service comes up: presets that answer soon, then those that import for long, then the rest."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from serve_app.config import PresetArgs
from serve_app.config_rules import borrows
from serve_app.forkserver.preload import ALIGNMENT, DIARIZATION
from serve_app.models.transcribers.registry import backend
from serve_app.own_ray import OwnRay
from serve_app.serve_config import CheckedConfig

PATIENCE_S = 30.0
"""After which what comes next no longer waits for what came first."""
COMING_UP = ("NOT_STARTED", "DEPLOYING")


def bring_up(config: CheckedConfig, client: Any, ray: OwnRay, told: threading.Event) -> None:
    """Deploy a config, until all of it is up or has failed, or it is told to stop."""
    first = soon(config)
    if ray.forks and first:
        client.deploy_apps(_part(config, first), _blocking=False)
        _wait(first, told)
        _aside(ray.forks.wait, told)
    if not told.is_set():
        client.deploy_apps(config.serve, _blocking=False)
        _wait([app.name for app in config.apps.all], told)
    if not told.is_set():
        ray.start_the_rest()


def soon(config: CheckedConfig) -> list[str]:
    """Return the applications that come first: the gateways and the presets that have no torch of their own, if any."""
    light = [name for name, args in config.presets.items() if not _imports(args) and not _decodes_with_torch(args)]
    return [*config.gateways, *light] if light else []


def long_imports(config: CheckedConfig) -> list[str]:
    """Return what of `forkserver.preload` the others need."""
    return sorted({name for args in config.presets.values() for name in _imports(args)})


def _imports(args: PresetArgs) -> set[str]:
    stages = {ALIGNMENT: args.alignment, DIARIZATION: args.diarization}
    return {name for name, stage in stages.items() if stage and not borrows(stage)}


def _decodes_with_torch(args: PresetArgs) -> bool:
    return "torch" in backend(args.transcription.backend).libraries


def _part(config: CheckedConfig, names: list[str]) -> Any:
    apps = [app for app in config.serve.applications if app.name in names]
    return config.serve.model_copy(update={"applications": apps})


def _wait(names: list[str], told: threading.Event) -> None:
    """Wait until applications are up or have failed; not for ever, and not once it is told to stop."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = _applications()
        if all(name in found and found[name].status not in COMING_UP for name in names) or told.wait(0.2):
            return


def _applications() -> Mapping[str, Any]:
    from ray import serve
    from ray.exceptions import RayError

    try:
        found: Mapping[str, Any] = serve.status().applications
    except RayError:  # Serve's controller is being replaced
        return {}
    return found


def _aside(work: Callable[[], object], told: threading.Event) -> None:
    """Wait for some work, but not once it is told to stop."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive() and not told.wait(0.05):
        pass
