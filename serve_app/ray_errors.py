"""Ray's own exceptions end here: a dead replica becomes `ReplicaLost`, and the work is sent again."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from serve_app.errors import PresetUnavailable, RayscribeError, ReplicaLost, StageFailed

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
    except BackPressureError as error:
        raise PresetUnavailable(f"{what} has too much waiting; try again later") from error
    except DeploymentUnavailableError as error:
        raise PresetUnavailable(f"{what} failed to start; see `serve status`") from error


async def answer(response: Awaitable[Value], what: str) -> Value:
    """Await a handle's response."""
    with translated(what):
        return await response
