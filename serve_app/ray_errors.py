"""Ray's own exceptions end here: a dead replica becomes `ReplicaLost`, and the work is sent again."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentResponse

from serve_app.errors import PresetUnavailable, RayscribeError, ReplicaKilled, ReplicaLost, StageFailed

Value = TypeVar("Value")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise our errors for Ray's."""
    try:
        yield
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RayscribeError):
            raise cause from error
        raise StageFailed(f"{what} failed: {type(cause).__name__}: {cause}") from error
    except (RayActorError, ReplicaUnavailableError, ObjectLostError) as error:
        raise ReplicaLost(f"{what} lost its replica in mid-work") from error
    except (OutOfMemoryError, NodeDiedError, WorkerCrashedError) as error:
        raise ReplicaKilled(f"{what} lost its replica in mid-work: {_first_line(error)}") from error
    except TaskCancelledError as error:
        raise ReplicaLost(f"{what} was cancelled by others in mid-work") from error
    except BackPressureError as error:
        raise PresetUnavailable(f"{what} has too much waiting; try again later") from error
    except DeploymentUnavailableError as error:
        raise PresetUnavailable(f"{what} failed to start: `GET /v1/presets` tells why") from error


def _first_line(error: Exception) -> str:
    """Return why Ray killed it; the rest tells operators at length."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


async def answer(response: Awaitable[Value], what: str) -> Value:
    """Await a handle's response; who is cancelled while waiting cancels the call.

    A call that somebody else cancelled is lost as with its replica: it can be sent again.
    """
    try:
        with translated(what):
            return await response
    except asyncio.CancelledError as error:
        if not _cancelled_here():
            raise ReplicaLost(f"{what} was cancelled by others in mid-work") from error
        if isinstance(response, DeploymentResponse):
            response.cancel()
        raise


def _cancelled_here() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
