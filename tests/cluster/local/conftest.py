"""`configs/local.yaml`, run by `serve run` on the session's cluster for all tests of this folder, and ended after them.

A cluster runs one Serve: tests that put another config to it stand outside.
"""

from collections.abc import Iterator

import openai
import pytest
import yaml

from demo.service import Service
from tests.cluster.conftest import STARTS_WITHIN_S, Cluster, free_port
from tests.conftest import ROOT


@pytest.fixture(scope="package")
def service(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of `configs/local.yaml`, ready, on a free port."""
    folder = tmp_path_factory.mktemp("service")
    config = yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())
    port = config["http_options"]["port"] = free_port()
    path = folder / "local.yaml"
    path.write_text(yaml.safe_dump(config))
    running = Service(path, folder / "serve.log", cluster.environment)
    try:
        for _ in running.until_ready(f"http://127.0.0.1:{port}/ready", STARTS_WITHIN_S):
            pass
        yield f"http://127.0.0.1:{port}"
    finally:
        running.stop()


@pytest.fixture(scope="package")
def client(service: str) -> openai.OpenAI:
    """The official SDK, told nothing but the address."""
    return openai.OpenAI(base_url=f"{service}/v1", api_key="none", timeout=300, max_retries=0)
