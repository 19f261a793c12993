"""The Ray that a service starts for itself: what nobody waits for starts last, and its workers are copies."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

from serve_app.forkserver.client import ForkServer, fork_server
from serve_app.forkserver.hook import OFF, VARIABLE

RAY = {
    "MALLOC_ARENA_MAX": "1",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""What we have Ray do unless the environment says otherwise.

Ray's workers step back by 15 by themselves, which leaves no room for those among them that should. Replicas answer on
one event loop, as nothing of ours blocks it for long: 4 ms of a request less. Serve's controller looks around twice a
second in place of ten times, which halves what it and Ray's GCS take from the models; so does the log monitor, for
files that are new, whatever their number. Nothing is reported. What the one arena is for says `heap`.
"""
NEW = "local"
"""An address that means a Ray of one's own."""
DASHBOARD = "start_api_server"
LAST = ("start_monitor", DASHBOARD, "start_log_monitor")
"""Of Ray's head: what tells people and the autoscaler, by its methods."""


@dataclass(frozen=True, slots=True)
class OwnRay:
    """A Ray that runs; `forks` is None where its workers are not copies."""

    forks: ForkServer | None = None
    held_back: list[Callable[[], object]] = field(default_factory=list)

    def start_the_rest(self) -> None:
        """Start what was held back; once."""
        while self.held_back:
            self.held_back.pop(0)()


@contextmanager
def own_ray(metrics_port: int | None = None, later: Sequence[str] = (), *, dashboard: bool = False) -> Iterator[OwnRay]:
    """Start Ray, or join the one that RAY_ADDRESS names, until the block ends.

    Args:
        metrics_port: where its metrics can be read; a port of Ray's choice without.
        later: functions of `forkserver.preload`: what takes long to import, for those workers that need it.
        dashboard: whether a Ray that is started has its dashboard, which takes a third of what an idle service takes
            of the processor, and does for whoever reaches it what it is told.

    """
    import ray

    os.environ.update({**RAY, **os.environ})
    with ExitStack() as stack:
        # Without an address Ray would join whatever `ray start` began on this machine.
        address = os.environ.get("RAY_ADDRESS") or NEW
        copies = sys.platform == "linux" and os.environ.get(VARIABLE) != OFF and address == NEW
        ours = OwnRay(stack.enter_context(fork_server(later)) if copies else None)
        with _held_back(ours.held_back, without=() if dashboard else (DASHBOARD,)):
            ray.init(address, namespace="serve", _metrics_export_port=metrics_port)
        stack.callback(ray.shutdown)
        yield ours


@contextmanager
def _held_back(calls: list[Callable[[], object]], without: Sequence[str]) -> Iterator[None]:
    """Have Ray's head, while it starts, note down what it would have started last, but for what is not wanted."""
    from ray._private.node import Node

    def note(name: str) -> Callable[..., None]:
        start = getattr(Node, name)
        return lambda *args, **kwargs: None if name in without else calls.append(partial(start, *args, **kwargs))

    with ExitStack() as stack:
        for name in LAST:
            stack.enter_context(patch.object(Node, name, note(name)))
        yield
