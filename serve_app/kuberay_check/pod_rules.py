"""What schemas leave open in any object with pods: images, quantities, and what probes start."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from serve_app.kuberay_check.manifests import Manifest
from serve_app.yaml_source import Place, Problem

IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})")
"""With its registry, and a tag or a digest."""
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGTPE]|[KMGTPE]i)?")
UNITS = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000**power) for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}
PROGRAMS = frozenset({"bash", "wget", "grep"})
"""What a probe may start in our images."""
REDIS = re.compile(r"(.*/)?redis[:@].*")
START = re.compile(r"(?:^|[|;(\n]|(?<!>)&)\s*([^\s|&;()]+)")
"""Where a shell's script starts a program."""


def pod_problems(manifest: Manifest) -> Iterator[Problem]:
    """Yield what is wrong with the pods of an object, wherever they stand in it."""
    for place, image in found(manifest, "image"):
        if not IMAGE.fullmatch(str(image)):
            yield Problem(place, f"'{image}' must have its registry, and a tag (not latest) or a digest")
    for place, resources in found(manifest, "resources"):
        if isinstance(resources, dict):  # a Role's are a list
            yield from _resource_problems(place, resources)
    for key in ("containers", "initContainers"):
        for place, containers in found(manifest, key):
            for index, container in enumerate(containers):
                yield from _probe_problems((*place, index), container)


def found(node: Any, key: str, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every value of a key, at any depth, with its place."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, below in items:
        if step == key:
            yield (*place, step), below
        yield from found(below, key, (*place, step))


def quantity(value: Any) -> Decimal | None:
    """Return a quantity's value, such as 0.5 for 500m; None if it is none."""
    parsed = QUANTITY.fullmatch(str(value))
    return Decimal(parsed[1]) * UNITS.get(parsed[2], Decimal(1)) if parsed else None


def _resource_problems(place: Place, resources: dict[str, Any]) -> Iterator[Problem]:
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for kind, given in (("requests", requests), ("limits", limits)):
        for name, value in given.items():
            if quantity(value) is None:
                yield Problem((*place, kind, name), f"'{value}' is no quantity, such as 500m, 2 or 4Gi")
    for name in requests.keys() & limits.keys():
        asked, most = quantity(requests[name]), quantity(limits[name])
        if asked is not None and most is not None and asked > most:
            yield Problem((*place, "requests", name), f"{requests[name]} is more than its limit, {limits[name]}")


def _probe_problems(place: Place, container: dict[str, Any]) -> Iterator[Problem]:
    known = PROGRAMS | {"redis-cli"} if REDIS.fullmatch(container.get("image", "")) else PROGRAMS
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        command = container.get(probe, {}).get("exec", {}).get("command", ())
        for name in programs(command):
            if name not in known:
                yield Problem((*place, probe), f"starts {name}; the image has {', '.join(sorted(known))}")


def programs(command: Sequence[str]) -> list[str]:
    """Return what a command starts: its program, and those of the script that a shell is given after -c."""
    script = command[2] if command[1:2] == ["-c"] else ""
    return [*command[:1], *START.findall(script)]
