"""compose.yaml names what there is: stages of the Dockerfile, folders of the repository, keys that Compose knows."""

import re
from typing import Any

import pytest
import yaml

from serve_app import start
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KNOWN = {
    *("build", "cap_drop", "deploy", "entrypoint", "environment", "image", "ports", "profiles", "read_only", "restart"),
    *("security_opt", "shm_size", "stop_grace_period", "tmpfs", "ulimits", "user", "volumes"),
}


def test_its_keys_are_those_of_the_specification() -> None:
    assert set(COMPOSE) == {"name", "services", "x-service"}
    assert {key for service in SERVICES.values() for key in service} <= KNOWN


def test_what_it_builds_are_stages() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert [each["build"]["target"] for each in SERVICES.values() if "build" in each] == ["runtime-cpu", "runtime-cuda"]
    assert {"runtime-cpu", "runtime-cuda"} <= set(stages)


@pytest.mark.parametrize("name", SERVICES)
def test_all_run_as_another_user_on_a_read_only_root(name: str) -> None:
    assert (SERVICES[name]["user"], SERVICES[name]["read_only"], SERVICES[name]["tmpfs"]) == (
        "10001:10001",
        True,
        ["/tmp"],
    )
    for volume in SERVICES[name]["volumes"]:
        if volume.startswith("./"):
            assert (ROOT / volume.split(":")[0]).is_dir()


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_it_sets_is_read(name: str) -> None:
    told = start.__doc__ or ""
    assert all(variable in told for variable in SERVICES[name]["environment"])
