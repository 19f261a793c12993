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

from serve_app.app import build_gateway, build_preset
from serve_app.config_rules import deployments_of
from serve_app.draining import longest_work_s, on_hand
from serve_app.serve_config import CATALOG, ConfigError, check_serve_config, main
from tests.serve_app.config_helpers import CONFIGS, GOOD, catalog, problems


def test_good_text_is_good() -> None:
    config = check_serve_config(GOOD, "test.yaml", catalog())
    assert list(config.presets) == ["fast", "high"]
    assert list(config.gateways) == ["gateway"]
    assert config.gpus()["high", "Transcription"] == (0.25, 0.25)


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("HeadOnly", "head").replace("whisper-tiny", "x").replace("{app: high}", "{app: hihg}")
    assert [line.split(":")[0] for line in problems(text.replace("num_gpus", "num_gpu"), catalog())] == [
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


def test_any_value_anywhere_is_taken_or_refused_with_a_message() -> None:
    good = yaml.safe_load(GOOD)
    for place in places(good, ()):
        for value in (None, -3, "x", [3], {}, {"a": 1}):
            broken = copy.deepcopy(good)
            parent = functools.reduce(operator.getitem, place[:-1], broken)
            parent[place[-1]] = value
            with contextlib.suppress(ConfigError):  # anything else fails the test
                check_serve_config(yaml.safe_dump(broken), "test.yaml", catalog())


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
        made = bound(build_preset(args))
        assert set(made) == set(deployments_of(args))
        for name, deployment in made.items():
            assert deployment.max_ongoing_requests == on_hand(name, args)
            assert deployment._deployment_config.graceful_shutdown_timeout_s == longest_work_s(name, args)
    for gateway in config.gateways.values():
        assert set(bound(build_gateway(gateway))) == set(deployments_of(gateway))


def bound(app: object) -> dict[str, Any]:
    """An application's deployments by name, by Serve's private record of what was bound."""
    deployment = app._bound_deployment  # type: ignore[attr-defined]
    found = {deployment.name: deployment}
    for value in deployment.init_kwargs.values():
        if hasattr(value, "_bound_deployment"):
            found |= bound(value)
    return found


def test_command_prints_a_line_per_file_or_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace("port:", "prot:"))
    assert main([str(CONFIGS / "single-gpu.yaml"), str(CONFIGS / CATALOG), str(bad), str(tmp_path / "none.yaml")]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"{CONFIGS / 'single-gpu.yaml'}: ok (5 applications, presets fast, balanced, high, premium; "
        "GPUs: 0.63 awake, 1.11 at most)",
        f"{CONFIGS / CATALOG}: ok (35 models)",
    ]
    assert err.splitlines() == [
        f"{bad}:2: http_options.prot: unknown key; did you mean 'port'?",
        f"{tmp_path / 'none.yaml'}: cannot be read: No such file or directory",
    ]
    assert main([str(CONFIGS / "local.yaml")]) == 0


def test_command_says_that_memory_was_not_checked_without_a_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "alone.yaml"
    path.write_text(GOOD)
    assert main([str(path)]) == 0
    assert "; memory not checked: no models.yaml beside it)" in capsys.readouterr().out


def test_command_prints_what_stages_need_and_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(GOOD)
    (tmp_path / CATALOG).write_text((CONFIGS / CATALOG).read_text())
    assert main([str(path), "--gpu", "4GB"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].split() == [
        *("high", "Transcription", "whisper-small@latest", "0.48", "0.5", "2", "×", "0.2"),
        *("(8", "+", "2)", "×", "0.05", "1.8", "0.25"),
        *("1.0", "too", "little", "0.45"),
    ]
    assert err.endswith("what fits: num_gpus: 0.45\n")
    assert main([str(path), "--gpu", "8GB"]) == 0
    assert "too little" not in capsys.readouterr().out


def test_command_says_what_it_could_not_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.gpu_rules.gpu_memory_gb", lambda: None)
    path = tmp_path / "unknown.yaml"
    path.write_text(GOOD)
    assert main([str(path)]) == 0
    assert "their memory is not checked: give args.gpu.memory_gb, or --gpu 24GB" in capsys.readouterr().out
    assert main([str(path), "--gpu", "24GB"]) == 0
    assert "unknown: give memory_mb in models.yaml" in capsys.readouterr().out


def test_command_refuses_a_size_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["x.yaml", "--gpu", "large"])
    assert "'large' is not a size" in capsys.readouterr().err
