"""Which replica of a stage gets the next window: of all of them the one with the least to do."""

import random
from typing import Any

from ray.serve.request_router import (
    FIFOMixin,
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    RequestRouter,
    RunningReplica,
)

_replicas: dict[tuple[str, str], int] = {}
"""(application, deployment) → replicas, as far as this process sends work to them."""


class LeastLoadedRouter(FIFOMixin, LocalityMixin, MultiplexMixin, RequestRouter):  # type: ignore[misc]
    """Chooses among all replicas, where Serve's own looks at two: what waits behind a few long windows is lost time.

    Serve asks replicas how long their queues are, counts along, and forgets that after ten seconds without news; what
    it does not know just now it asks for beside the choice.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return all replicas as equals, in any order; the base class takes the one with the shortest queue."""
        ids = [*self.apply_locality_routing(pending_request=pending_request)]
        return [[self._replicas[each] for each in random.sample(ids, len(ids))]] if ids else []

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Note how many replicas there are."""
        super().update_replicas(replicas)
        _replicas[self._deployment_id.app_name, self._deployment_id.name] = len(replicas)


def replicas_of(handle: Any) -> int:
    """Return the replicas that a handle of this process sends to; 0 while nobody knows."""
    return _replicas.get((handle.app_name, handle.deployment_name), 0)
