"""A preset in miniature, for `test_scaling`: three deployments that wait for files, so that a test has them in hand.

They are named as the real ones, since the policy knows which stages are lent by their names.
"""

import asyncio
import os
import time
from pathlib import Path

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request

NAMES = ("Pipeline", "Transcription", "Alignment")
PATIENCE_S = 120


def started(folder: str, name: str) -> None:
    """Leave a file that says that a replica of a deployment has started."""
    Path(folder, f"{name}-{os.getpid()}").touch()


def until_all_started(folder: str) -> None:
    """Return once a replica of each has started; ones that start one behind another never get there."""
    deadline = time.monotonic() + PATIENCE_S
    while not all(list(Path(folder).glob(f"{name}-*")) for name in NAMES):
        if time.monotonic() > deadline:
            raise TimeoutError("the others never started")
        time.sleep(0.05)  # between two looks at a condition


class Transcription:
    """Holds a window until its file is there."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        started(folder, "Transcription")
        until_all_started(folder)

    async def transcribe(self, window: str) -> int:
        """Return this process's id once the window may go."""
        return await asyncio.to_thread(self._hold, window)

    def _hold(self, window: str) -> int:
        Path(self._folder, f"at-work-{window}-{os.getpid()}").touch()
        while not Path(self._folder, f"go-{window}").exists():
            time.sleep(0.05)  # between two looks at a condition
        return os.getpid()


class Alignment:
    """Is woken with the others."""

    def __init__(self, folder: str) -> None:
        started(folder, "Alignment")
        until_all_started(folder)

    async def align(self, pid: int) -> int:
        """Hand on what it is given."""
        return pid


class Pipeline:
    """Sends a request's windows out at once: `?windows=a,b,c` → the processes that answered."""

    def __init__(self, folder: str, transcription: DeploymentHandle, alignment: DeploymentHandle) -> None:
        self._transcription, self._alignment = transcription, alignment
        started(folder, "Pipeline")
        until_all_started(folder)

    async def __call__(self, request: Request) -> list[int]:
        """Answer in the order of the windows."""
        return list(await asyncio.gather(*map(self._one, request.query_params["windows"].split(","))))

    async def _one(self, window: str) -> int:
        return int(await self._alignment.align.remote(await self._transcription.transcribe.remote(window)))


class Borrower:
    """The pipeline of another preset, which borrows the first one's aligner."""

    async def __call__(self, request: Request) -> int:
        """Answer what the aligner hands on."""
        return int(await serve.get_deployment_handle("Alignment", app_name="mini").align.remote(7))


def build_borrower(args: dict[str, str]) -> Application:
    """Build the other preset, which is always awake."""
    return serve.deployment(Borrower, ray_actor_options={"num_cpus": 0.1}).bind()


def build(args: dict[str, str]) -> Application:
    """Build the three over a folder, in which they and the test tell each other things by files."""
    options = {"ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 4, "graceful_shutdown_timeout_s": 120}
    transcription, alignment = (
        serve.deployment(cls, **options).bind(args["folder"]) for cls in (Transcription, Alignment)
    )
    return serve.deployment(Pipeline, **options).bind(args["folder"], transcription, alignment)
