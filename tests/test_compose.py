"""compose.yaml names what there is: stages of the Dockerfile, folders of the repository, keys that Compose knows.

So do the files of its profiles: metrics that Ray's package or our code defines, the service's own port.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from serve_app import start
from tests.conftest import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KNOWN = {
    *(
        "build",
        "cap_drop",
        "command",
        "deploy",
        "entrypoint",
        "environment",
        "image",
        "ports",
        "profiles",
        "read_only",
        "restart",
    ),
    *("security_opt", "shm_size", "stop_grace_period", "tmpfs", "ulimits", "user", "volumes"),
}
DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "rayscribe.json").read_text())
RAY = Path(ray.__file__).parent
DEFINING = [
    *(RAY / "serve" / "_private").glob("*.py"),
    RAY / "dashboard" / "modules" / "reporter" / "reporter_agent.py",
]
SUFFIXES = {"Counter": ["_total"], "Gauge": [""], "Histogram": ["_bucket", "_count", "_sum"]}
"""What Ray's exporter appends to a metric's name."""


def test_its_keys_are_those_of_the_specification() -> None:
    assert set(COMPOSE) == {"name", "services", "x-environment", "x-locked", "x-service"}
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
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    for volume in SERVICES[name]["volumes"]:
        if volume.startswith("./"):
            assert (ROOT / volume.split(":")[0]).is_dir()


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_it_sets_is_read(name: str) -> None:
    told = start.__doc__ or ""
    assert all(variable in told for variable in SERVICES[name]["environment"])


def test_what_is_not_ours_has_a_pinned_tag_and_ours_the_tag_that_is_asked_for() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    ours = {name for name, image in images.items() if image.endswith(":${TAG:-dev}")}
    assert ours == {"cpu", "gpu", "publish"}
    for name in images.keys() - ours:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+:v?\d+\.\d+\.\d+", images[name])


def test_no_port_is_open_to_others() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_reads_the_services_metrics_port() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["cpu", "gpu"]
    assert {SERVICES[name]["environment"]["RAYSCRIBE_METRICS_PORT"] for name in found["names"]} == {found["port"]}


def test_grafana_reads_from_prometheus_and_finds_its_dashboard() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards" / "rayscribe.yaml").read_text())["providers"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/rayscribe.json"
    assert {f"./deploy/grafana:{Path(home).parents[1]}:ro"} == {*SERVICES["grafana"]["volumes"]}


def defined(file: Path) -> Iterator[str]:
    """The names, as they are exported, of the metrics that a file defines; a protocol's are HTTP's."""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    for call in calls:
        kind = ast.unparse(call.func).rpartition(".")[2]
        for name in [*call.args, *(each.value for each in call.keywords if each.arg == "name")][:1]:
            text = re.sub(r"{.*?}", "http", ast.unparse(name)).removeprefix("f").strip("'")
            yield from (f"ray_{text}{suffix}" for suffix in SUFFIXES.get(kind, ()))


def metrics_of_the_dashboard() -> set[str]:
    """The metrics that its queries name."""
    queries = (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    return {name for query in queries for name in re.findall(r"ray_\w+", query)}


def test_every_metric_of_the_dashboard_is_defined() -> None:
    known = {name for file in (*DEFINING, ROOT / "serve_app" / "loading.py") for name in defined(file)}
    asked = metrics_of_the_dashboard()
    assert len(asked) == 11
    assert asked - known == set()


def test_labels_in_the_dashboard_are_those_that_its_queries_leave() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            shown = {*re.findall(r"{{(\w+)}}", target["legendFormat"])}
            assert shown <= {*re.findall(r"\w+", re.findall(r"by \((.*?)\)", target["expr"])[0])}
