"""Serve a config in this process until it is told to stop: what `serve run` does, and an end without a loss."""

import os
import signal
import sys
import threading

from serve_app.models.environment import OFFLINE
from serve_app.own_ray import OwnRay, own_ray
from serve_app.rollout import bring_up, long_imports
from serve_app.serve_config import CheckedConfig

FAILED = 1


def serve_until_told(config: CheckedConfig, metrics_port: int | None = None, *, dashboard: bool = False) -> int:
    """Start Ray (or join the one that RAY_ADDRESS names) and Serve, and answer until SIGTERM or SIGINT.

    Then nothing new is taken and what was asked is answered, unless it is told again. Returns the exit code.
    """
    os.environ.update(OFFLINE)
    with own_ray(metrics_port, long_imports(config), dashboard=dashboard) as ray:
        return _serve(config, ray, _told())  # after Ray, which has a handler of its own


def _serve(config: CheckedConfig, ray: OwnRay, told: threading.Event) -> int:
    from ray import serve
    from ray.serve._private import api

    try:
        client = api.serve_start(
            http_options=config.serve.http_options.model_dump(),
            proxy_location=config.serve.proxy_location,
            grpc_options=config.serve.grpc_options.model_dump(),
            controller_options=config.serve.controller_options,
        )
        bring_up(config, client, ray, told)
        told.wait()
        told.clear()
        _close(config, told)
    except Exception as error:  # noqa: BLE001 - Ray's, of any kind: it did not come up, or is going down by itself
        print(f"Serve failed: {error}", file=sys.stderr)
        return FAILED
    finally:
        serve.shutdown()
    return 0


def _told() -> threading.Event:
    """Return what is set when this process is told to stop."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    return told


def _close(config: CheckedConfig, hurry: threading.Event) -> None:
    """Take the gateway away and wait until it has answered what it was asked; the presets stay, as it needs them."""
    from ray import serve

    print("stopping: what was asked is answered first; stop again to cut it off", flush=True)
    gateways = set(config.gateways)
    for name in gateways:
        serve.delete(name, _blocking=False)
    while gateways & serve.status().applications.keys() and not hurry.wait(0.2):
        pass
