"""Ray's errors as ours."""

import asyncio

import pytest
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from serve_app.errors import NotAudio, PresetUnavailable, RayscribeError, ReplicaKilled, ReplicaLost, StageFailed
from serve_app.ray_errors import answer


async def raised(error: BaseException) -> None:
    raise error


def in_a_replica(error: Exception) -> Exception:
    """An error as it arrives from the replica that raised it."""
    arrived: Exception = RayTaskError("transcribe", "a traceback", error).as_instanceof_cause()
    return arrived


async def test_an_answer_passes() -> None:
    async def fine() -> int:
        return 3

    assert await answer(fine(), "it") == 3


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (in_a_replica(NotAudio("no audio", "file")), NotAudio, "no audio"),
        (in_a_replica(ReplicaLost("lost its replica")), ReplicaLost, "lost its replica"),
        (in_a_replica(ValueError("wrong shape")), StageFailed, "the stage failed: ValueError: wrong shape"),
        (ActorDiedError(), ReplicaLost, "the stage lost its replica"),
        (ObjectLostError("00", None, ""), ReplicaLost, "the stage lost its replica"),
        (OutOfMemoryError("\nlow on memory\n22 of 23 GB"), ReplicaKilled, "lost its replica in mid-work: low on"),
        (NodeDiedError("the node died"), ReplicaKilled, "the stage lost its replica in mid-work: the node died"),
        (WorkerCrashedError(), ReplicaKilled, "the stage lost its replica"),
        (RequestCancelledError("x"), ReplicaLost, "the stage was cancelled by others"),
        (asyncio.CancelledError(), ReplicaLost, "the stage was cancelled by others"),
        (DeploymentUnavailableError("x"), PresetUnavailable, "the stage failed to start"),
        (BackPressureError(num_queued_requests=3, max_queued_requests=3), PresetUnavailable, "too much waiting"),
    ],
)
async def test_rays_errors_become_ours(error: Exception, expected: type[RayscribeError], said: str) -> None:
    with pytest.raises(expected) as caught:
        await answer(raised(error), "the stage")
    assert type(caught.value) is expected
    assert said in str(caught.value)


async def test_a_clients_error_keeps_its_parameter() -> None:
    with pytest.raises(NotAudio) as caught:
        await answer(raised(in_a_replica(NotAudio("no audio", "file"))), "the stage")
    assert (caught.value.param, caught.value.status) == ("file", 400)


async def test_who_is_cancelled_while_waiting_stays_cancelled() -> None:
    waiting = asyncio.create_task(answer(asyncio.Event().wait(), "the stage"))
    await asyncio.sleep(0)  # it begins to wait
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
