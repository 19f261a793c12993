"""Stages that do not fit their share of a GPU, or the GPUs that there are, and how it is told."""

import pytest

from serve_app.gpu_memory import VARIABLE
from serve_app.gpu_rules import pack
from serve_app.serve_config import ConfigError, check_serve_config
from tests.serve_app.config_helpers import GOOD, catalog, problems, problems_after

MISTAKES = {
    "cuda without a GPU": (
        "ray_actor_options: {num_gpus: 0.25}",
        "ray_actor_options: {num_cpus: 1}",
        "25: applications[high].args.transcription.device: "
        "cuda, but no GPU is reserved; give deployments[Transcription] ray_actor_options: {num_gpus: …}",
    ),
    "GPU without cuda": (
        "device: cuda",
        "device: cpu",
        "30: applications[high].deployments[Transcription].ray_actor_options.num_gpus: "
        "reserves 0.25 GPU for a stage whose args.transcription.device is cpu; make one fit the other",
    ),
    "GPU without a model": (
        "max_ongoing_requests: 16",
        "ray_actor_options: {num_gpus: 0.1}",
        "17: applications[fast].deployments[Pipeline].ray_actor_options.num_gpus: "
        "Pipeline holds no model; leave it out",
    ),
    "share that is too small": (
        "preset: high",
        "preset: high\n      gpu: {memory_gb: 4}",
        "31: applications[high].deployments[Transcription].ray_actor_options.num_gpus: needs 1.8 GB (weights 0.5, "
        "CUDA 0.5, work 2 × 0.2, (8 + 2) × 0.05 at work), but 0.25 of a GPU of 4 GB is 1.0; what fits: num_gpus: 0.45",
    ),
    "GPU without memory": (
        "preset: high",
        "preset: high\n      gpu: {memory_gb: 0}",
        "25: applications[high].args.gpu.memory_gb: must be greater than 0; it is 0",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gives_its_message_and_no_other(mistake: str) -> None:
    right, wrong, *expected = MISTAKES[mistake]
    assert problems_after(right, wrong) == expected


AWAKE = GOOD.replace("preset: high", "preset: high\n      gpu: {memory_gb: 24, count: 1}")
"""0.25 of the one GPU is awake."""


def test_more_awake_than_there_are_gpus() -> None:
    more = AWAKE.replace("num_gpus: 0.25", "num_gpus: 0.7}\n        num_replicas: 2 #")
    assert problems(more, catalog()) == [
        "25: applications[high].args.gpu.count: there is one GPU, but what is awake reserves 1.4 (0.7 + 0.7); "
        "lower num_gpus, or let more stages sleep or be borrowed"
    ]


def test_a_sleeper_that_would_find_no_room() -> None:
    asleep = AWAKE.replace("threads: 2", "device: cuda, batch_size: 4").replace("device: cpu, ", "")
    asleep = asleep.replace(
        "{min_replicas: 0, max_replicas: 1}",
        "{min_replicas: 0, max_replicas: 1}\n        ray_actor_options: {num_gpus: 0.8}",
    )
    counted = asleep.replace("preset: fast", "preset: fast\n      gpu: {memory_gb: 24, count: 1}")
    assert problems(counted, catalog()) == [
        "13: applications[fast].args.gpu.count: there is one GPU: 0.8 of a GPU never wakes beside the 0.25 awake; "
        "lower num_gpus, or let more stages sleep or be borrowed"
    ]
    assert check_serve_config(counted.replace("num_gpus: 0.8", "num_gpus: 0.75"), "test.yaml", catalog())


@pytest.mark.parametrize(
    ("shares", "count", "fits"),
    [
        ([0.1] * 10, 1, True),
        ([0.1] * 11, 1, False),
        ([0.6, 0.6], 1, False),
        ([0.6, 0.6, 0.4, 0.4], 2, True),
        ([0.4, 0.4, 0.6, 0.6], 2, True),
        ([0.7, 0.7, 0.3, 0.3, 0.1], 2, False),
        ([2, 0.5], 3, True),
        ([2, 0.5, 0.6], 3, False),
        ([], 1, True),
    ],
)
def test_shares_are_not_split_over_two_gpus(shares: list[float], count: int, fits: bool) -> None:
    assert pack(shares, count) is fits


def test_the_environment_says_the_memory_where_the_config_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4")
    assert "of a GPU of 4 GB" in problems(GOOD, catalog())[0]
    stated = GOOD.replace("preset: high", "preset: high\n      gpu: {memory_gb: 24}")
    assert check_serve_config(stated, "test.yaml", catalog())


def test_an_environment_that_says_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4GB")
    with pytest.raises(ConfigError, match=f"test.yaml: {VARIABLE} is '4GB'; give the GB of one GPU as a number"):
        check_serve_config(GOOD, "test.yaml", catalog())


def test_who_checks_has_the_last_word() -> None:
    stated = GOOD.replace("preset: high", "preset: high\n      gpu: {memory_gb: 24}")
    with pytest.raises(ConfigError, match="of a GPU of 4 GB"):
        check_serve_config(stated, "test.yaml", catalog(), gpu_gb=4)


def test_without_a_catalog_memory_is_not_checked() -> None:
    assert check_serve_config(GOOD, "test.yaml", gpu_gb=1)
