import json
from pathlib import Path

import pytest

from serve_app.hardware.machine import FILE, KEPT_S, Machine, detect, this_machine
from tests.serve_app.hardware.machines import machine

ONE, OTHER = machine(8, 32, 24.0), machine(4, 16)


class Looks:
    def __init__(self) -> None:
        self.times = 0
        self.now = 1000.0

    def at(self, cache: Path, *, refresh: bool = False) -> Machine:
        return this_machine(cache, refresh=refresh, look_at=self._look, now=lambda: self.now)

    def _look(self) -> Machine:
        self.times += 1
        return ONE if self.times == 1 else OTHER


def test_an_hour_long_nobody_looks_again(tmp_path: Path) -> None:
    looks = Looks()
    assert looks.at(tmp_path / "new") == ONE
    looks.now += KEPT_S - 1
    assert looks.at(tmp_path / "new") == ONE
    looks.now += 2
    assert looks.at(tmp_path / "new") == OTHER
    assert looks.times == 2


def test_refresh_looks_again_and_keeps_it(tmp_path: Path) -> None:
    looks = Looks()
    looks.at(tmp_path)
    assert looks.at(tmp_path, refresh=True) == OTHER
    assert looks.at(tmp_path) == OTHER
    assert looks.times == 2


def test_another_view_of_the_machine_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks()
    looks.at(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert looks.at(tmp_path) == OTHER


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1000}', '{"at": "x", "for": [], "machine": {}}'])
def test_what_cannot_be_read_is_looked_at_again(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert Looks().at(tmp_path) == ONE


def test_a_field_that_this_version_does_not_know_is_looked_at_again(tmp_path: Path) -> None:
    looks = Looks()
    looks.at(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())
    kept["machine"]["tpus"] = 1
    (tmp_path / FILE).write_text(json.dumps(kept))
    assert looks.at(tmp_path) == OTHER


def test_a_clock_that_was_set_back_keeps_nothing_for_ever(tmp_path: Path) -> None:
    looks = Looks()
    looks.at(tmp_path)
    looks.now -= 10
    assert looks.at(tmp_path) == OTHER


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert Looks().at(tmp_path / "file") == ONE


def test_this_machine_has_something() -> None:
    found = detect()
    assert found.cpus > 0
    assert found.memory_gb > 0
    assert f"{found.cpus:g} cores" in str(found)
