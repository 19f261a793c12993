"""The table of presets: what it says comes from the configs, the catalog, or a measurement that it names."""

from pathlib import Path

import pytest

from serve_app.presets_table import ALIGNMENT, LEVELS, NOT_MEASURED, main, rows

CONFIGS = Path(__file__).parents[2] / "configs"


def test_real_models_have_weights_needs_and_what_was_published_of_them() -> None:
    table = {row.preset: row for row in rows(CONFIGS / "gpu.yaml")}
    assert list(table) == ["fast", "balanced", "high", "premium"]
    assert table["fast"].models == ("whisper-tiny",)
    assert (table["fast"].weights_mb, table["premium"].weights_mb) == (76, 3088 + 1262)
    assert 0 < (table["fast"].gpu_gb or 0) < (table["balanced"].gpu_gb or 0) < (table["premium"].gpu_gb or 0)
    speeds = [float(row.measured.speed.removesuffix(" ×")) for row in table.values()]
    errors = [float(row.measured.error.removesuffix(" %")) for row in table.values()]
    assert speeds == [460, 184, 92, 46]
    assert errors == sorted(errors, reverse=True)
    assert all(row.measured.source.startswith("published: ") for row in table.values())
    assert "advanced alignment, speakers" in table["premium"].gives
    assert "basic alignment" in table["fast"].gives
    assert set(ALIGNMENT.values()) == set(LEVELS)


def test_demo_models_have_what_was_measured_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    table = {row.preset: row.measured for row in rows(CONFIGS / "local.yaml")}
    assert table["high"].error != NOT_MEASURED
    assert {table[name].speed for name in ("balanced", "premium")} == {NOT_MEASURED}
    assert all("benchmarks." in measured.source for measured in table.values())
    assert main([str(CONFIGS / "local.yaml")]) == 0
    told = capsys.readouterr().out
    assert "0.0 to 0.4 %" in told
    assert "advanced alignment: those of each character too" in told


def test_a_model_that_nobody_published_figures_of_has_none(tmp_path: Path) -> None:
    config = (CONFIGS / "single-gpu.yaml").read_text().replace("whisper-tiny", "whisper-tiny.en")
    (tmp_path / "own.yaml").write_text(config)
    (tmp_path / "models.yaml").write_text((CONFIGS / "models.yaml").read_text())
    assert {row.preset: row.measured.speed for row in rows(tmp_path / "own.yaml")}["fast"] == NOT_MEASURED


def test_a_config_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no/such.yaml"]) == 1
    assert "cannot be read" in capsys.readouterr().err
