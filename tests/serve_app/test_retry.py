"""Work that is sent again, and when."""

import pytest

from serve_app.errors import PresetUnavailable, ReplicaKilled, ReplicaLost
from serve_app.retry import ATTEMPTS, UNNOTICED_S, again


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, of no length."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr("serve_app.retry.sleep", sleep)
    return made


async def result(*losses: Exception) -> int:
    """Send work that fails so often, and then is done; return how often it was sent."""
    left, sent = [*losses], 0

    async def send() -> int:
        nonlocal sent
        sent += 1
        if left:
            raise left.pop(0)
        return sent

    return await again(send)


async def test_what_serve_knows_to_be_lost_is_sent_again_at_once(paused: list[float]) -> None:
    assert await result(ReplicaLost("gone"), ReplicaLost("gone")) == 3
    assert paused == []


async def test_what_was_killed_is_sent_again_once_serve_has_noticed(paused: list[float]) -> None:
    assert await result(ReplicaKilled("low on memory"), ReplicaKilled("low on memory")) == 3
    assert paused == [*UNNOTICED_S]


async def test_the_last_loss_is_told(paused: list[float]) -> None:
    with pytest.raises(PresetUnavailable, match=r"low on memory \(3 times in a row\)") as caught:
        await result(*[ReplicaKilled("low on memory")] * ATTEMPTS)
    assert type(caught.value) is PresetUnavailable  # or who is above would send all of it again
    assert len(paused) == ATTEMPTS - 1


async def test_another_error_is_not_sent_again(paused: list[float]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        await result(ValueError("wrong"))
