"""Serve a config in this process until it is told to stop: what `serve run` does, and an end without a loss."""

import os
import signal
import sys
import threading

from serve_app.models.environment import OFFLINE
from serve_app.serve_config import CheckedConfig

FAILED = 1
NICENESS = "RAY_worker_niceness"
"""Ray's workers step back by 15 without it, which leaves no room for those among them that should step back."""
RAY = {
    NICENESS: "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What we have Ray do unless the environment says otherwise.

Replicas answer on one event loop, as nothing of ours blocks it for long: 4 ms of a request less. Nothing is reported.
"""


def serve_until_told(config: CheckedConfig, metrics_port: int | None = None) -> int:
    """Start Ray (or join the one that RAY_ADDRESS names) and Serve, and answer until SIGTERM or SIGINT.

    Then nothing new is taken and what was asked is answered, unless it is told again. Returns the exit code.
    """
    import ray
    from ray import serve
    from ray.serve._private import api

    os.environ.update(OFFLINE)
    os.environ.update({**RAY, **os.environ})
    ray.init(namespace="serve", _metrics_export_port=metrics_port)
    told = _told()  # after Ray, which has a handler of its own
    try:
        client = api.serve_start(
            http_options=config.serve.http_options.model_dump(),
            proxy_location=config.serve.proxy_location,
            grpc_options=config.serve.grpc_options.model_dump(),
            controller_options=config.serve.controller_options,
        )
        client.deploy_apps(config.serve, _blocking=False)
        told.wait()
        told.clear()
        _close(config, told)
    except Exception as error:  # noqa: BLE001 - Ray's, of any kind: it did not come up, or is going down by itself
        print(f"Serve failed: {error}", file=sys.stderr)
        return FAILED
    finally:
        serve.shutdown()
        ray.shutdown()
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
