"""A Serve config without a fault, and what is said of one with a fault."""

from functools import cache
from pathlib import Path

import pytest

from model_store.publishing.catalog import Catalog
from serve_app.serve_config import CATALOG, ConfigError, check_serve_config

CONFIGS = Path(__file__).parents[2] / "configs"

GOOD = """\
proxy_location: HeadOnly
http_options: {host: 127.0.0.1, port: 8000}
applications:
  - name: gateway
    route_prefix: /
    import_path: serve_app.app:build_gateway
    args: {presets: [fast, high]}
  - name: fast
    route_prefix: /fast
    import_path: serve_app.app:build_preset
    args:
      preset: fast
      transcription: {model: whisper-tiny, device: cpu, threads: 2}
      alignment: {app: high}
    deployments:
      - name: Pipeline
        max_ongoing_requests: 16
      - name: Transcription
        autoscaling_config: {min_replicas: 0, max_replicas: 1}
  - name: high
    route_prefix: /high
    import_path: serve_app.app:build_preset
    args:
      preset: high
      transcription: {model: whisper-small@latest, device: cuda, batch_size: 8}
      alignment: {models: {en: align-en-base}}
      diarization: {model: diarization-community-1}
    deployments:
      - name: Transcription
        ray_actor_options: {num_gpus: 0.25}
"""


@cache
def catalog() -> Catalog:
    """The catalog that we ship."""
    return Catalog.load(CONFIGS / CATALOG)


def problems(text: str, known: Catalog | None) -> list[str]:
    """What is wrong with a config, each as `LINE: PLACE: MESSAGE`."""
    with pytest.raises(ConfigError) as caught:
        check_serve_config(text, "test.yaml", known)
    return [line.removeprefix("test.yaml:") for line in caught.value.lines]


def problems_after(right: str, wrong: str) -> list[str]:
    """What is wrong with the good config once a part of it is exchanged."""
    assert right in GOOD
    return problems(GOOD.replace(right, wrong, 1), catalog())
