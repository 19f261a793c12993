import contextlib
import copy
import functools
import operator
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_store.publishing.catalog import Catalog
from serve_app.app import build_gateway, build_preset
from serve_app.config import GatewayArgs, PresetArgs
from serve_app.config_rules import deployments_of
from serve_app.serve_config import (
    CATALOG,
    CheckedConfig,
    ConfigError,
    check_serve_config,
    load_serve_config,
    main,
    replicas,
)

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(path for path in CONFIGS.glob("*.yaml") if path.name != CATALOG)

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
      transcription: {model: whisper-small@latest, device: cuda}
      alignment: {models: {en: align-en-base}}
      diarization: {model: diarization-community-1}
    deployments:
      - name: Transcription
        ray_actor_options: {num_gpus: 0.25}
"""

MISTAKES = {
    # Unknown keys, which Ray ignores, at every level.
    "key of the file": (
        "proxy_location",
        "proxy_locatoin",
        "1: proxy_locatoin: unknown key; did you mean 'proxy_location'?",
    ),
    "key of http_options": ("port:", "prot:", "2: http_options.prot: unknown key; did you mean 'port'?"),
    "key of an application": (
        "route_prefix: /fast",
        "route_prefix: /fast\n    runtime_envs: {}",
        "10: applications[fast].runtime_envs: unknown key; did you mean 'runtime_env'?",
    ),
    "key of a deployment": (
        "max_ongoing_requests",
        "max_ongoing_request",
        "17: applications[fast].deployments[Pipeline].max_ongoing_request: unknown key; "
        "did you mean 'max_ongoing_requests'?",
    ),
    "key of autoscaling_config": (
        "min_replicas",
        "min_replica",
        "19: applications[fast].deployments[Transcription].autoscaling_config.min_replica: unknown key; "
        "did you mean 'min_replicas'?",
    ),
    "key of ray_actor_options": (
        "{num_gpus: 0.25}",
        "{num_gpus: 0.25, num_cpu: 1}",
        "30: applications[high].deployments[Transcription].ray_actor_options.num_cpu: unknown key; "
        "did you mean 'num_cpus'?",
    ),
    "key of args": (
        "threads: 2",
        "thread: 2",
        "13: applications[fast].args.transcription.thread: unknown key; did you mean 'threads'?",
    ),
    # Values that Ray or the builders would refuse later.
    "type": (
        "port: 8000",
        "port: eight",
        "2: http_options.port: must be a valid integer, unable to parse string as an integer; it is 'eight'",
    ),
    "choice": (
        "HeadOnly",
        "head",
        "1: proxy_location: must be 'Disabled', 'HeadOnly' or 'EveryNode'; it is 'head'",
    ),
    "more at least than at most": (
        "min_replicas: 0",
        "min_replicas: 2",
        "19: applications[fast].deployments[Transcription].autoscaling_config: "
        "max_replicas (1) must be greater than or equal to min_replicas (2)!",
    ),
    "both fixed and scaled": (
        "autoscaling_config: {min",
        "num_replicas: 2\n        autoscaling_config: {min",
        "18: applications[fast].deployments[Transcription]: "
        "Manually setting num_replicas is not allowed when autoscaling_config is provided.",
    ),
    "not a mapping": (
        "{host: 127.0.0.1, port: 8000}",
        "8000",
        "2: http_options: must be a mapping with keys such as host, port, root_path, request_timeout_s",
    ),
    "deployment that is no mapping": (
        "- name: Pipeline\n        max_ongoing_requests: 16",
        "- Pipeline",
        "16: applications[fast].deployments[0]: "
        "must be a mapping with keys such as name, num_replicas, max_ongoing_requests, max_queued_requests",
    ),
    "value of args": (
        "threads: 2",
        "threads: -2",
        "13: applications[fast].args.transcription.threads: must be greater than or equal to 0; it is -2",
    ),
    "missing in args": (
        "{model: whisper-tiny, device: cpu, threads: 2}",
        "{device: cpu}",
        "13: applications[fast].args.transcription.model: is missing; it must be given",
    ),
    # Names that must fit together.
    "builder": (
        "build_gateway",
        "build_gatway",
        "6: applications[gateway].import_path: no builder is named 'serve_app.app:build_gatway'; "
        "did you mean 'serve_app.app:build_gateway'?",
    ),
    "application's name": (
        "name: fast",
        "name: quick",
        "7: applications[gateway].args.presets[0]: no preset of this file is named 'fast'; known are: high, quick",
        "8: applications[quick].name: must be 'fast', as args.preset: presets are found by it",
    ),
    "route": (
        "route_prefix: /fast",
        "route_prefix: /quick",
        "9: applications[fast].route_prefix: must be /fast, or null to answer through the gateway alone; it is /quick",
    ),
    "deployment": (
        "name: Pipeline",
        "name: Pipelines",
        "16: applications[fast].deployments[Pipelines].name: "
        "this application has no deployment 'Pipelines'; did you mean 'Pipeline'?",
    ),
    "deployment of a borrowed stage": (
        "name: Pipeline",
        "name: Alignment",
        "16: applications[fast].deployments[Alignment].name: "
        "'Alignment' is borrowed from application 'high'; set its options there",
    ),
    "deployment given twice": (
        "name: Pipeline",
        "name: Transcription",
        "18: applications[fast].deployments[Transcription].name: "
        "'Transcription' is given twice; put all its options into one entry",
    ),
    "lender": (
        "{app: high}",
        "{app: hihg}",
        "14: applications[fast].args.alignment.app: no preset of this file is named 'hihg'; did you mean 'high'?",
    ),
    "lender that is oneself": (
        "{app: high}",
        "{app: fast}",
        "14: applications[fast].args.alignment.app: "
        "an application cannot borrow from itself; those that have one are: high",
    ),
    "lender without the stage": (
        "{models: {en: align-en-base}}",
        "{app: fast}",
        "14: applications[fast].args.alignment.app: 'high' has no alignment of its own; give this one its own model",
        "26: applications[high].args.alignment.app: 'fast' has no alignment of its own; give this one its own model",
    ),
    "options of a borrowed stage": (
        "{app: high}",
        "{app: high, threads: 4}",
        "14: applications[fast].args.alignment.threads: "
        "has no effect on a borrowed stage; set it in application 'high'",
    ),
    "preset offered": (
        "[fast, high]",
        "[fast, hgih]",
        "7: applications[gateway].args.presets[1]: no preset of this file is named 'hgih'; did you mean 'high'?",
    ),
    # GPUs.
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
    # Snapshots.
    "snapshot": (
        "whisper-tiny",
        "whisper-tinny",
        "13: applications[fast].args.transcription.model: "
        "models.yaml has no model 'whisper-tinny'; did you mean 'whisper-tiny'?",
    ),
    "snapshot of another kind": (
        "model: diarization-community-1",
        "model: align-en-base",
        "27: applications[high].args.diarization.model: 'align-en-base' is a wav2vec2-ctc, "
        "diarization needs a pyannote-pipeline: demo-diarization, diarization-community-1",
    ),
    "snapshot for another language": (
        "{en: align-en-base}",
        "{en: align-en-base, de: align-en-large}",
        "26: applications[high].args.alignment.models.de: 'align-en-large' is for en, not for 'de'",
    ),
    "reference": (
        "whisper-small@latest",
        "whisper-small@",
        "25: applications[high].args.transcription.model: '' is not a tag. "
        "Write name, name@tag or name@sha256:<64 hex digits>, for example demo-whisper@latest.",
    ),
    # YAML's own traps.
    "key given twice": (
        "device: cpu, threads: 2",
        "device: cpu, threads: 2, device: cpu",
        "13: applications[fast].args.transcription.device: given twice, and YAML keeps only the last; remove one",
    ),
    "Norwegian": (
        "{en: align-en-base}",
        "{en: align-en-base, no: align-en-base}",
        "26: applications[high].args.alignment.models.no: "
        "YAML reads this key as a boolean, not as text; write it in quotes",
    ),
    "not YAML": ("[fast, high]", "[fast, high", "7: not YAML: expected ',' or ']', but got '}'"),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(CONFIGS / CATALOG)


def problems(text: str, catalog: Catalog | None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_serve_config(text, "test.yaml", catalog)
    return [line.removeprefix("test.yaml:") for line in caught.value.lines]


def awake_and_asleep(config: CheckedConfig) -> tuple[float, dict[str, float]]:
    """The GPUs of what is awake, and what each sleeping preset adds."""
    awake = sum(fewest for fewest, _ in config.gpus().values())
    asleep: dict[str, float] = {}
    for (app, _), (fewest, most) in config.gpus().items():
        if most > fewest:
            asleep[app] = asleep.get(app, 0) + most - fewest
    return awake, asleep


def test_good_text_is_good(catalog: Catalog) -> None:
    config = check_serve_config(GOOD, "test.yaml", catalog)
    assert list(config.presets) == ["fast", "high"]
    assert list(config.gateways) == ["gateway"]
    assert config.gpus()["high", "Transcription"] == (0.25, 0.25)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gives_its_message_and_no_other(mistake: str, catalog: Catalog) -> None:
    right, wrong, *expected = MISTAKES[mistake]
    assert right in GOOD
    assert problems(GOOD.replace(right, wrong, 1), catalog) == expected


def test_all_problems_are_told_at_once_in_the_order_of_the_file(catalog: Catalog) -> None:
    text = GOOD.replace("HeadOnly", "head").replace("whisper-tiny", "x").replace("{app: high}", "{app: hihg}")
    assert [line.split(":")[0] for line in problems(text.replace("num_gpus", "num_gpu"), catalog)] == [
        *("1", "13", "14", "25", "30")
    ]


def test_snapshots_are_not_looked_up_without_a_catalog() -> None:
    assert check_serve_config(GOOD.replace("whisper-tiny", "in-house"), "test.yaml").presets


def test_other_peoples_applications_may_stand_beside_ours() -> None:
    text = GOOD + "  - {name: chat, route_prefix: /chat, import_path: llm.app:build, args: {anything: 1}}\n"
    assert list(check_serve_config(text, "test.yaml").presets) == ["fast", "high"]


def test_preset_may_be_reached_through_the_gateway_alone() -> None:
    assert check_serve_config(GOOD.replace("route_prefix: /fast", "route_prefix: null"), "test.yaml")


@pytest.mark.parametrize("text", ["", "[]", "applications: 3", "applications: [3]", "applications: []"])
def test_text_of_another_shape_is_refused_or_empty(text: str) -> None:
    if text == "applications: []":
        assert check_serve_config(text, "test.yaml").presets == {}
    else:
        assert problems(text, None)


def test_any_value_anywhere_is_taken_or_refused_with_a_message(catalog: Catalog) -> None:
    good = yaml.safe_load(GOOD)
    for place in places(good, ()):
        for value in (None, -3, "x", [3], {}, {"a": 1}):
            broken = copy.deepcopy(good)
            parent = functools.reduce(operator.getitem, place[:-1], broken)
            parent[place[-1]] = value
            with contextlib.suppress(ConfigError):  # anything else fails the test
                check_serve_config(yaml.safe_dump(broken), "test.yaml", catalog)


def places(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, below in steps:
        yield (*place, step)
        yield from places(below, (*place, step))


def test_error_survives_pickling() -> None:
    error = ConfigError(["a:1: b", "a:2: c"])
    assert str(pickle.loads(pickle.dumps(error))) == "a:1: b\na:2: c"


def test_deployments_are_those_that_the_builders_make() -> None:
    config = check_serve_config(GOOD, "test.yaml")
    for args in config.presets.values():
        assert bound(build_preset(args)) == set(deployments_of(args))
    for gateway in config.gateways.values():
        assert bound(build_gateway(gateway)) == set(deployments_of(gateway))


def bound(app: object) -> set[str]:
    """The names of an application's deployments, by Serve's private record of what was bound."""
    deployment = app._bound_deployment  # type: ignore[attr-defined]
    below = [value for value in deployment.init_kwargs.values() if hasattr(value, "_bound_deployment")]
    return {deployment.name}.union(*map(bound, below))


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
    assert awake == pytest.approx(1.45)


def test_cpu_server_of_16_cores_holds_everything_at_once() -> None:
    config = load_serve_config(CONFIGS / "cpu.yaml")
    deployments = [deployment for app in config.serve.applications for deployment in app.deployments]
    assert sum(replicas(each)[1] * each.ray_actor_options.num_cpus for each in deployments) == pytest.approx(16)


def test_gpu_shares_hold_at_least_the_weights(catalog: Catalog) -> None:
    for name in ("gpu.yaml", "single-gpu.yaml"):
        config = load_serve_config(CONFIGS / name)
        for preset, args in config.presets.items():
            share = config.gpus()[preset, "Transcription"][1] / replicas_at_most(config, preset)
            weights_gb = catalog.entries[args.transcription.model].memory_mb / 1000
            assert share * 24 > weights_gb + 0.5, (name, preset)


def replicas_at_most(config: CheckedConfig, preset: str) -> int:
    app = next(app for app in config.serve.applications if app.name == preset)
    return replicas(next(each for each in app.deployments if each.name == "Transcription"))[1]


def test_command_prints_a_line_per_file_or_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace("port:", "prot:"))
    assert main([str(CONFIGS / "single-gpu.yaml"), str(CONFIGS / CATALOG), str(bad), str(tmp_path / "none.yaml")]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{CONFIGS / 'single-gpu.yaml'}: ok (5 applications, presets fast, balanced, high, premium; "
        "GPUs: 0.63 awake, 1.11 at most)",
        f"{CONFIGS / CATALOG}: ok (10 models)",
    ]
    assert err.splitlines() == [
        f"{bad}:2: http_options.prot: unknown key; did you mean 'port'?",
        f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory",
    ]
    assert main([str(CONFIGS / "local.yaml")]) == 0
