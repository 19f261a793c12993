"""The configs that we ship are good, and are what their comments say."""

from pathlib import Path

import pytest

from serve_app.config import GatewayArgs, PresetArgs
from serve_app.gpu_rules import replicas, shares_of
from serve_app.serve_config import CATALOG, CheckedConfig, load_serve_config
from tests.serve_app.config_helpers import CONFIGS

SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != CATALOG)
POLICY = {"policy_function": "serve_app.autoscaling:wake_together"}


def awake_and_asleep(config: CheckedConfig) -> tuple[float, dict[str, float]]:
    """The GPUs of what is awake, and what each sleeping preset adds."""
    awake = sum(fewest for fewest, _ in config.gpus().values())
    asleep: dict[str, float] = {}
    for (app, _), (fewest, most) in config.gpus().items():
        if most > fewest:
            asleep[app] = asleep.get(app, 0) + most - fewest
    return awake, asleep


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_config_is_good(path: Path) -> None:
    config = load_serve_config(path)
    assert set(config.presets) == {"fast", "balanced", "high", "premium"}
    assert all(isinstance(args, PresetArgs) for args in config.presets.values())
    assert [args.presets for args in config.gateways.values()] == [list(config.presets)]
    assert isinstance(config.gateways["gateway"], GatewayArgs)


def test_single_gpu_holds_what_is_awake_and_any_one_sleeper() -> None:
    awake, asleep = awake_and_asleep(load_serve_config(CONFIGS / "single-gpu.yaml"))
    assert awake == pytest.approx(0.63)
    assert asleep == pytest.approx({"high": 0.18, "premium": 0.30})
    assert awake + max(asleep.values()) <= 1


def test_gpu_cluster_of_two_holds_what_is_awake() -> None:
    awake, _ = awake_and_asleep(load_serve_config(CONFIGS / "gpu.yaml"))
    assert awake == pytest.approx(1.55)


def test_cpu_server_of_16_cores_holds_everything_at_once() -> None:
    config = load_serve_config(CONFIGS / "cpu.yaml")
    deployments = [deployment for app in config.serve.applications for deployment in app.deployments]
    assert sum(replicas(each)[1] * each.ray_actor_options.num_cpus for each in deployments) == pytest.approx(16)


@pytest.mark.parametrize("name", ["gpu", "single-gpu"])
def test_every_share_of_a_gpu_is_checked(name: str) -> None:
    config = load_serve_config(CONFIGS / f"{name}.yaml")
    shares = list(shares_of(config.apps))
    assert len(shares) >= 6
    assert all(share.device_gb == 24 and share.need(config.catalog) for share in shares)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_presets_whose_pipeline_sleeps_wake_together(path: Path) -> None:
    for app in load_serve_config(path).serve.applications:
        sleeps = any(each.name == "Pipeline" and replicas(each)[0] == 0 for each in app.deployments)
        assert app.autoscaling_policy == (POLICY if sleeps else None), app.name
