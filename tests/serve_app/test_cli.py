import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app import start
from serve_app.cli import app
from serve_app.hardware import machine as hardware
from serve_app.hardware.machine import Machine
from serve_app.serve_config import load_serve_config
from tests.conftest import ROOT
from tests.serve_app.hardware.machines import machine


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.output


def looks_like(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Machine) -> list[str]:
    """Let this machine be another one; returns the options that keep the figures apart."""
    monkeypatch.setattr(
        hardware.this_machine, "__kwdefaults__", {**hardware.this_machine.__kwdefaults__, "look_at": lambda: found}
    )  # type: ignore[attr-defined]
    return ["--cache", str(tmp_path / "cache")]


def places(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "store"), "--cache", str(tmp_path / "cache")]


def test_the_doctor_tells_of_machine_store_and_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_STORE", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    local = str(ROOT / "configs" / "local.yaml")
    told = json.loads(run("doctor", local, *places(tmp_path), "--json", code=1))
    states = {each["name"]: each for each in told["findings"]}
    assert told["machine"]["cpus"] > 0
    assert states["config"]["state"] == states["audio"]["state"] == "ok"
    assert states["model"]["state"] == "fail"
    assert "demo-" in states["model"]["text"]
    assert "publish" in states["model"]["mend"]


def test_the_doctors_table_names_the_mend(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    said = run("doctor", *places(tmp_path))
    assert "nothing is published" in said
    assert "→ model-store publish 'demo-*'" in said


def test_a_config_that_is_wrong_or_missing_fails(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert "cannot be read" in run("doctor", str(tmp_path / "none.yaml"), *places(tmp_path), code=1)


def test_the_doctors_table_leaves_no_part_of_a_place_out(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((ROOT / "configs" / "local.yaml").read_text().replace("beam_size: 1", "beam_sise: 1"))
    (tmp_path / "store").mkdir()
    assert "applications[fast].args" in run("doctor", str(wrong), *places(tmp_path), code=1)


def test_gpus_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSCRIBE_GPU_MEMORY_GB", "24")
    monkeypatch.setenv("RAYSCRIBE_STORE", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    single = str(ROOT / "configs" / "single-gpu.yaml")
    told = json.loads(run("doctor", single, *places(tmp_path), "--json", code=1))
    assert any("asks for GPUs and there is none" in each["text"] for each in told["findings"])


def test_a_config_is_written_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = looks_like(monkeypatch, tmp_path, machine(16, 64, 24.0))
    out = tmp_path / "mine.yaml"
    assert "for 16 cores" in run("config", "--for-this-machine", "--out", str(out), *cache)
    assert load_serve_config(out).presets["fast"].transcription.device == "cuda"
    assert run("config", "--for-this-machine", *cache) == out.read_text()
    assert "demo-whisper" in run("config", "--for-this-machine", "--demo", *cache)


@pytest.mark.parametrize("arguments", [["config"], ["config", "--for-this-machine", "--out", "/nonexistent/x.yaml"]])
def test_wrong_use_is_told(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*arguments, *looks_like(monkeypatch, tmp_path, machine(16, 64)), code=2)


def test_a_machine_that_is_too_small_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("config", "--for-this-machine", *looks_like(monkeypatch, tmp_path, machine(1, 2)), code=2)
    assert "error: fast with whisper-tiny does not fit" in said


def test_serve_starts_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], str | None, str]] = []

    def main(arguments: list[str], environment: dict[str, str]) -> int:
        asked.append((arguments, environment.get("RAYSCRIBE_DASHBOARD"), environment["RAYSCRIBE_PORT"]))
        return 4

    monkeypatch.setattr(start, "main", main)
    monkeypatch.setenv("RAYSCRIBE_PORT", "9000")
    monkeypatch.delenv("RAYSCRIBE_DASHBOARD", raising=False)
    run("serve", "mine.yaml", code=4)
    run("serve", "--dashboard", code=4)
    assert asked == [(["mine.yaml"], None, "9000"), ([], "1", "9000")]
