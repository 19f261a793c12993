from functools import cache

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.gpu_rules import pack, replicas
from serve_app.hardware.machine import Machine
from serve_app.hardware.machine_config import CONFIGS, base_for, config_for
from serve_app.hardware.recommend import MOST_ON_A_GPU, TooSmall, usable
from serve_app.serve_config import CheckedConfig, check_serve_config, load_serve_config
from tests.serve_app.hardware.machines import machine

PRESETS = ["fast", "balanced", "high", "premium"]


@cache
def base(name: str) -> CheckedConfig:
    return load_serve_config(CONFIGS / f"{name}.yaml")


def base_of(looked_at: Machine, *, demo: bool = False) -> CheckedConfig:
    """Return what `base_for` does, read once."""
    return base("local" if demo else "single-gpu" if usable(looked_at).gpus else "cpu")


def made(looked_at: Machine, *, demo: bool = False) -> CheckedConfig:
    start = base_of(looked_at, demo=demo)
    return check_serve_config(config_for(looked_at, start), "made", start.catalog, looked_at.gpu_gb or None)


def stage(config: CheckedConfig, preset: str, deployment: str = "Transcription") -> tuple[float, float, int, int]:
    """Return the CPUs and GPUs of a replica, the fewest and the most replicas."""
    (app,) = (app for app in config.apps.all if app.name == preset)
    found = app.deployment(deployment)[1]
    options = found.ray_actor_options
    return options.num_cpus, options.num_gpus or 0.0, *replicas(found)


@pytest.mark.parametrize(
    ("looked_at", "presets"),
    [
        (machine(2, 8), PRESETS[:1]),
        (machine(4, 16), PRESETS[:3]),
        (machine(16, 32), PRESETS),
        (machine(8, 32, 8.0), PRESETS[:3]),
        (machine(8, 32, 24.0), PRESETS),
        (machine(64, 256, *[24.0] * 4), PRESETS),
        (machine(8, 32, 24.0, capability=6.1), PRESETS),
    ],
)
def test_a_machine_gets_what_it_holds(looked_at: Machine, presets: list[str]) -> None:
    config = made(looked_at)
    assert list(config.presets) == presets
    assert next(iter(config.gateways.values())).presets == presets


def test_two_cores_are_not_given_a_model_that_takes_days() -> None:
    assert "premium" not in made(machine(2, 1000)).presets
    assert "premium" in made(machine(4, 1000)).presets


def test_demo_models_fit_a_small_laptop() -> None:
    config = made(machine(2, 16), demo=True)
    assert config.presets["fast"].transcription.model == "demo-whisper"
    assert config.presets["fast"].transcription.batch_size == "auto"
    assert config.presets["fast"].vad == base_of(machine(2, 16), demo=True).presets["fast"].vad


def test_few_cores_are_shared_and_many_are_reserved() -> None:
    few, many = made(machine(2, 25)), made(machine(64, 256))
    assert stage(few, "fast")[0] < 1
    assert few.presets["fast"].transcription.threads == 2
    assert stage(many, "fast")[0] == 4
    assert many.presets["fast"].transcription.threads == 0
    assert stage(many, "fast")[3] > 1


def test_more_gpus_hold_more_replicas_but_never_a_crowd() -> None:
    config = made(machine(64, 256, *[80.0] * 4))
    most = stage(config, "premium")[3]
    assert 1 < most <= 4 * MOST_ON_A_GPU


def test_a_small_gpu_lets_large_models_sleep() -> None:
    config = made(machine(8, 32, 8.0))
    assert stage(config, "fast")[2] == 1
    assert stage(config, "high")[2] == 0
    assert "wake_together" in yaml.safe_dump(config.document)


def test_gpus_that_are_too_old_are_not_used() -> None:
    config = made(machine(8, 32, 24.0, capability=6.1))
    assert config.presets["fast"].transcription.device == "cpu"
    assert not any(most for _, most in config.gpus().values())


def test_what_is_too_small_is_told() -> None:
    with pytest.raises(TooSmall, match=r"fast with whisper-tiny does not fit: 2 cores, 3.0 GB of memory"):
        made(machine(2, 3))


def test_the_file_says_for_which_machine() -> None:
    text = config_for(machine(8, 32, 24.0), base_for(machine(8, 32, 24.0), configs=CONFIGS))
    assert text.startswith("# For 8 cores, 32.0 GB of memory, a GPU (24 GB, compute capability 8.9): written by")
    assert "# premium: whisper-large-v3 in float16, batch_size 8, 0.3 of a GPU" in text


machines = st.builds(
    lambda cpus, memory, count, size, capability: machine(cpus, memory, *[size] * count, capability=capability),
    st.floats(0.25, 256),
    st.floats(1, 2000),
    st.integers(0, 8),
    st.sampled_from([2.0, 4.3, 8.6, 16.1, 24.2, 48.0, 85.5]),
    st.sampled_from([6.1, 7.0, 7.5, 8.9, 12.0]),
)


@settings(max_examples=40, deadline=None)
@given(machines, st.booleans())
def test_whatever_is_recommended_is_a_valid_config_that_fits(looked_at: Machine, demo: bool) -> None:
    try:
        config = made(looked_at, demo=demo)
    except TooSmall:
        assert looked_at.memory_gb < 8 or looked_at.cpus < 1
        return
    cpus, awake = 0.0, list[float]()
    for app in config.apps.all:
        for deployment in app.deployments:
            fewest, most = replicas(deployment)
            assert deployment.ray_actor_options.num_cpus > 0
            cpus += deployment.ray_actor_options.num_cpus * most
            awake += [deployment.ray_actor_options.num_gpus or 0.0] * (most if fewest else 0)
    assert cpus <= max(1, looked_at.cpus) + 1e-6
    assert pack(awake, len(looked_at.gpus))
