"""The least loaded of all replicas gets the next window."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private.common import DeploymentHandleSource, DeploymentID, ReplicaID
from ray.serve._private.request_router import PendingRequest

from serve_app.routing import LeastLoadedRouter, replicas_of

STAGE = DeploymentID("Transcription", "high")


class Replica:
    """A replica as a router sees it."""

    max_ongoing_requests = 256
    node_id = availability_zone = "here"
    multiplexed_model_ids: frozenset[str] = frozenset()

    def __init__(self, name: str, queue: int) -> None:
        self.replica_id, self.queue = ReplicaID(name, STAGE), queue

    async def get_queue_len(self, *, deadline_s: float) -> int:
        return self.queue


def pending() -> PendingRequest:
    metadata: Any = SimpleNamespace(multiplexed_model_id="", session_id="", internal_request_id="1")
    return PendingRequest(args=[], kwargs={}, metadata=metadata)


async def router_over(*queues: int) -> LeastLoadedRouter:
    router = LeastLoadedRouter(
        deployment_id=STAGE, handle_source=DeploymentHandleSource.REPLICA, use_replica_queue_len_cache=True
    )
    router.update_replicas([Replica(str(number), queue) for number, queue in enumerate(queues)])
    for _ in range(20):
        await asyncio.sleep(0)  # the router asks for the queues of new replicas by itself
    return router


async def chosen(router: LeastLoadedRouter) -> str:
    (equals,) = await router.choose_replicas([], pending())
    replica = await router._select_from_candidate_replicas(equals, 0)
    assert replica is not None
    return str(replica.replica_id.unique_id)


async def test_the_shortest_queue_of_all_is_chosen_every_time() -> None:
    router = await router_over(*[9] * 40, 1, *[9] * 23)
    assert {await chosen(router) for _ in range(50)} == {"40"}


async def test_what_was_sent_counts() -> None:
    router = await router_over(1, 2, 3)
    sent = []
    for _ in range(6):
        name = await chosen(router)
        sent.append(name)
        router.on_send_request(ReplicaID(name, STAGE))
    assert sent[0] == "0"
    assert sorted(sent) == ["0", "0", "0", "1", "1", "2"]


async def test_among_equals_each_has_its_turn() -> None:
    router = await router_over(0, 0, 0)
    assert {await chosen(router) for _ in range(100)} == {"0", "1", "2"}


async def test_without_replicas_nobody_is_chosen() -> None:
    assert await (await router_over()).choose_replicas([], pending()) == []


@pytest.mark.parametrize("count", [0, 3])
async def test_how_many_there_are_is_known_where_work_is_sent_from(count: int) -> None:
    await router_over(*[0] * count)
    assert replicas_of(SimpleNamespace(app_name="high", deployment_name="Transcription")) == count
    assert replicas_of(SimpleNamespace(app_name="fast", deployment_name="Transcription")) == 0
