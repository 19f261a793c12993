"""Whether the stages fit the GPUs: who reserves one, whether its share holds it, whether all shares fit together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model_store.errors import BadReference
from model_store.publishing.catalog import Catalog
from serve_app.config import PresetArgs
from serve_app.config_rules import STAGES, App, Apps, Rule, StageArgs, borrows, deployments_of
from serve_app.gpu_memory import gpu_memory_gb
from serve_app.memory_need import Need, need_of, what_fits
from serve_app.yaml_source import Place, Problem


@dataclass(frozen=True, slots=True)
class Share:
    """A stage's share of a GPU: what one replica of it reserves, and the GB of that GPU if anybody knows."""

    place: Place
    app: str
    deployment: str
    args: StageArgs
    num_gpus: float
    device_gb: float | None

    def need(self, catalog: Catalog | None) -> Need | None:
        """Return what it needs; None when nobody knows."""
        try:
            return need_of(self.args, catalog) if catalog else None
        except BadReference:  # told by the rule about snapshots
            return None


def devices(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """GPUs are reserved by the stages that use them, and by no others."""
    for app in apps.all:
        if app.args is None:
            continue
        stages = {STAGES[stage]: (stage, args) for stage, args in app.stages() if not borrows(args)}
        for name in deployments_of(app.args):
            place, deployment = app.deployment(name)
            gpus = gpu_share(deployment)
            if name not in stages:
                if gpus:
                    yield Problem((*place, "ray_actor_options", "num_gpus"), f"{name} holds no model; leave it out")
                continue
            stage, args = stages[name]
            if args.device == "cuda" and not gpus:
                message = f"cuda, but no GPU is reserved; give deployments[{name}] ray_actor_options: {{num_gpus: …}}"
                yield Problem((*app.place, "args", stage, "device"), message)
            if args.device == "cpu" and gpus:
                message = f"reserves {gpus:g} GPU for a stage whose args.{stage}.device is cpu; make one fit the other"
                yield Problem((*place, "ray_actor_options", "num_gpus"), message)


def gpu_share(deployment: Any) -> float:
    """Return the GPUs that one replica of a DeploymentSchema reserves."""
    return float(getattr(getattr(deployment, "ray_actor_options", None), "num_gpus", None) or 0)


def replicas(deployment: Any) -> tuple[int, int]:
    """Return the fewest and the most replicas of a DeploymentSchema."""
    scaling = deployment.autoscaling_config
    if not isinstance(scaling, dict):
        fixed = deployment.num_replicas
        return (1, 100) if fixed == "auto" else (fixed, fixed) if isinstance(fixed, int) else (1, 1)
    fewest = scaling.get("min_replicas", 1)
    return fewest, scaling.get("max_replicas", 100 if deployment.num_replicas == "auto" else max(1, fewest))


def shares_of(apps: Apps) -> Iterator[Share]:
    """Return the shares of all stages that reserve a GPU."""
    for app in apps.all:
        for stage, args in app.stages():
            place, deployment = app.deployment(STAGES[stage])
            if not borrows(args) and (share := gpu_share(deployment)):
                yield Share(place, app.name, STAGES[stage], args, share, _device_gb(apps, app))


def _device_gb(apps: Apps, app: App) -> float | None:
    stated = app.args.gpu.memory_gb if isinstance(app.args, PresetArgs) else None
    return apps.gpu_gb or stated or gpu_memory_gb()


def held(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """A stage's share of a GPU holds its weights and its work."""
    for share in shares_of(apps):
        if not (catalog and share.device_gb and share.need(catalog)):
            continue  # the table says so
        if message := what_fits(share.args, catalog, share.num_gpus, share.device_gb):
            yield Problem((*share.place, "ray_actor_options", "num_gpus"), message)


def awake(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """Where the number of GPUs is stated, they hold what is awake."""
    for place, count, _ in _counted(apps):
        if not pack(_awake(apps), count):
            yield Problem(place, f"{_gpus(count)}, but what is awake reserves {_sum(_awake(apps))}; {MEND}")
            return


def asleep(apps: Apps, catalog: Catalog | None) -> Iterator[Problem]:
    """Beside what is awake there is room for any one preset that wakes."""
    for place, count, app in _counted(apps):
        if pack(_awake(apps), count) and not pack([*_awake(apps), *_asleep(app)], count):
            message = f"{_sum(_asleep(app))} of a GPU never wakes beside the {_sum(_awake(apps))} awake"
            yield Problem(place, f"{_gpus(count)}: {message}; {MEND}")


MEND = "lower num_gpus, or let more stages sleep or be borrowed"


def _counted(apps: Apps) -> Iterator[tuple[Place, int, App]]:
    for app in apps.all:
        if isinstance(app.args, PresetArgs) and app.args.gpu.count:
            yield (*app.place, "args", "gpu", "count"), app.args.gpu.count, app


def _awake(apps: Apps) -> list[float]:
    found = (deployment for app in apps.all for deployment in app.deployments if deployment is not None)
    return [share for each in found for share in [gpu_share(each)] * replicas(each)[0]]


def _asleep(app: App) -> list[float]:
    return [gpu_share(each) for each in app.deployments if each is not None and replicas(each)[0] == 0]


WHOLE = 10_000
"""Ray counts in ten-thousandths, too; in floats ten times 0.1 is less than one."""


def pack(shares: Sequence[float], count: int) -> bool:
    """Say whether shares fit onto so many GPUs, the largest placed first; none is split over two."""
    parts = [round(WHOLE * share) for share in shares]
    left = count - sum(part // WHOLE for part in parts)
    free = [WHOLE] * left
    for rest in sorted((part % WHOLE for part in parts if part % WHOLE), reverse=True):
        place = next((index for index, room in enumerate(free) if room >= rest), None)
        if place is None:
            return False
        free[place] -= rest
    return left >= 0


def _sum(shares: Sequence[float]) -> str:
    parts = [f"{share:g}" for share in sorted(shares, reverse=True) if share]
    return f"{sum(shares):g} ({' + '.join(parts)})" if len(parts) > 1 else f"{sum(shares):g}"


def _gpus(count: int) -> str:
    return "there is one GPU" if count == 1 else f"there are {count} GPUs"


GPU_RULES: tuple[Rule, ...] = (devices, held, awake, asleep)
