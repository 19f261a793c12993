"""`rayscribe serve` as a child process: its readiness, its log, its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from serve_app.models.environment import OFFLINE
from serve_app.own_ray import RAY


class ServiceFailed(Exception):
    """The child ended by itself, was not ready in time, or a preset failed to start; carries what is known of why."""


OURS = (sys.executable, "-m", "serve_app.start")
RAYS = (str(Path(sys.executable).with_name("serve")), "run")


class Service:
    """One service, in a session of its own, so that Ctrl-C reaches it through us, once.

    Args:
        config: its Serve config.
        log: where what it prints goes.
        environment: what it has beside this process's.
        command: what serves a config: ours, or Ray's own `serve run`.

    """

    def __init__(
        self,
        config: Path,
        log: Path,
        environment: dict[str, str] | None = None,
        command: tuple[str, ...] = OURS,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._child = subprocess.Popen(
            [*command, str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, **OFFLINE, **RAY, **(environment or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child's process id; all that it starts are its descendants."""
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether the child is gone."""
        return self._child.poll() is not None

    def until_ready(self, url: str, patience_s: float) -> Iterator[dict[str, Any]]:
        """Yield the presets' states, several times a second, until all that are awake are ready."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if self.ended:
                raise ServiceFailed(self._tail())
            ready, presets = _ask(url)
            if ready:
                return
            self._give_up_on_failed(presets)
            yield presets
            time.sleep(0.3)  # between two looks at a condition
        raise ServiceFailed(f"not ready within {patience_s:.0f} s\n{self._tail()}")

    def _give_up_on_failed(self, presets: dict[str, Any]) -> None:
        failed = [f"{name}: {preset['message']}" for name, preset in presets.items() if preset["state"] == "unhealthy"]
        if failed:
            raise ServiceFailed("\n".join(failed))

    def wait(self) -> None:
        """Block until the child ends by itself, which is a failure."""
        self._child.wait()
        raise ServiceFailed(self._tail())

    def stop(self, patience_s: float = 40.0) -> None:
        """Ask the child to shut Serve and its Ray down; end its whole session if it does not."""
        for ask in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.ended:
                return
            os.killpg(self._child.pid, ask) if ask == signal.SIGKILL else self._child.send_signal(ask)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(patience_s)

    def _tail(self, lines: int = 25) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])


def _ask(url: str) -> tuple[bool, dict[str, Any]]:
    try:
        response = httpx.get(url, timeout=5)
        body = response.json()
    except (httpx.HTTPError, ValueError):
        return False, {}
    return response.status_code == httpx.codes.OK, body.get("presets", {})
