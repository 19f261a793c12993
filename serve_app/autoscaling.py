"""How a preset's stages are scaled together: the policy that Serve configs name as `autoscaling_policy`.

Ray calls it ten times a second with one context per autoscaled deployment of the application, and then applies to each
target the deployment's own scaling factors, delays and bounds (`ray.serve.autoscaling_policy`, 2.60). It wraps what is
pickled by value, so this module imports nothing of ours. Stages are called once per window, so that Serve's own count
of ongoing requests, running and queued, is a count of windows.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

Name = TypeVar("Name")

LENT = ("Alignment", "Diarization")
"""Stages that other presets may borrow: work in them does not say that this preset is asked for."""


class Load(NamedTuple):
    """A deployment as the policy sees it: its requests, running and queued, and its replicas."""

    ongoing: float
    target_ongoing: float
    replicas: int
    fewest: int
    lent: bool = False

    @property
    def wanted(self) -> int:
        """Return the replicas that the requests at hand keep busy."""
        return math.ceil(self.ongoing / self.target_ongoing)


def targets(loads: Mapping[Name, Load]) -> dict[Name, int]:
    """Return how many replicas each deployment should have, before its bounds and delays.

    As soon as the preset is asked for, every stage has one: they start side by side, and none goes while another has
    work. Idle stages go to zero together, once each is down to its last replica.
    """
    asked = any(load.ongoing > 0 for load in loads.values() if not load.lent)
    shrinking = any(load.ongoing == 0 and load.replicas > max(1, load.fewest) for load in loads.values())
    return {name: max(load.wanted, _kept(load, asked, shrinking)) for name, load in loads.items()}


def _kept(load: Load, asked: bool, shrinking: bool) -> int:
    """Return the replicas that a stage has without work of its own: one, none, or the one that it still has."""
    if asked:
        return 1
    return min(1, load.replicas) if shrinking else 0


def wake_together(contexts: Mapping[Any, Any]) -> tuple[dict[Any, int], dict[Any, dict[str, Any]]]:
    """Decide for one application: Ray's contexts by deployment in, targets by deployment out; it keeps no state."""
    loads = {deployment: _load(context) for deployment, context in contexts.items()}
    return targets(loads), {}


def _load(context: Any) -> Load:
    return Load(
        context.total_num_requests,
        context.config.get_target_ongoing_requests(),
        context.target_num_replicas,
        context.capacity_adjusted_min_replicas,
        context.deployment_name in LENT,
    )
