"""A replica measures its batch size when it has been quiet, keeps what nobody disturbed, and never fails by it."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from serve_app import tuning
from serve_app.models.calibration import Tuning
from serve_app.tuning import TRIES, Tuner, machine_is_quiet

QUIET_S = 0.05


class Measuring:
    """A calibration that measures when it may; `disturbed` requests come in while it does."""

    unmeasured = 8

    def __init__(self, fails: bool = False) -> None:
        self.begun, self.may_end, self.done = threading.Semaphore(0), threading.Semaphore(0), threading.Event()
        self.kept: list[Tuning] = []
        self.times = 0
        self._fails = fails

    def measure(self) -> Tuning:
        self.times += 1
        self.begun.release()
        assert self.may_end.acquire(timeout=10)
        if self._fails:
            raise RuntimeError("CUDA failed with error out of memory")
        return Tuning(4 * self.times)

    def keep(self, tuning: Tuning) -> None:
        self.kept.append(tuning)
        self.done.set()


def tuner(measuring: Any, sizes: list[int], quiet_s: float = QUIET_S) -> Tuner:
    return Tuner(measuring, sizes.append, quiet_s, lambda: True)


def test_it_measures_once_it_is_quiet_and_keeps_it() -> None:
    measuring, sizes = Measuring(), list[int]()
    measuring.may_end.release()
    tuner(measuring, sizes)
    assert measuring.done.wait(10)
    assert (sizes, measuring.kept) == ([4], [Tuning(4)])


def test_it_does_not_measure_while_it_has_work() -> None:
    measuring, sizes = Measuring(), list[int]()
    measuring.may_end.release()
    tuned = tuner(measuring, sizes)
    with tuned.in_use():
        assert not measuring.begun.acquire(timeout=6 * QUIET_S)
    assert measuring.done.wait(10)


class Time:
    """The time of day, set by hand."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, threading.Event()

    def monotonic(self) -> float:
        self.asked.set()
        return self.now


def test_it_waits_anew_after_a_request_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    time, measuring = Time(), Measuring()
    monkeypatch.setattr(tuning, "time", time)
    measuring.may_end.release()
    tuned = tuner(measuring, [])
    assert time.asked.wait(10)
    time.now = 0.8 * QUIET_S
    with tuned.in_use():
        pass
    time.now = 1.6 * QUIET_S
    assert not measuring.begun.acquire(timeout=6 * QUIET_S)
    time.now = 3 * QUIET_S
    assert measuring.done.wait(10)


def test_a_request_that_fails_is_done_too() -> None:
    measuring = Measuring()
    measuring.may_end.release()
    tuned = tuner(measuring, [])
    with suppress(ZeroDivisionError), tuned.in_use():
        raise ZeroDivisionError
    assert measuring.done.wait(10)


def test_it_does_not_measure_while_others_work() -> None:
    measuring, quiet = Measuring(), threading.Event()
    measuring.may_end.release()
    Tuner(measuring, lambda size: None, QUIET_S, quiet.is_set)  # type: ignore[arg-type]
    assert not measuring.begun.acquire(timeout=6 * QUIET_S)
    quiet.set()
    assert measuring.done.wait(10)


@pytest.mark.parametrize(("load", "quiet"), [(0.4, True), (1.9, True), (2.1, False), (30.0, False)])
def test_a_machine_is_quiet_when_most_of_its_cores_are(
    load: float, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert machine_is_quiet() == quiet


def test_a_machine_that_nobody_knows_of_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> tuple[float, float, float]:
        raise OSError("Load averages are unobtainable")

    monkeypatch.setattr("os.getloadavg", unknown)
    assert machine_is_quiet()


def test_a_measurement_that_a_request_came_into_is_made_again() -> None:
    measuring, sizes = Measuring(), list[int]()
    tuned = tuner(measuring, sizes)
    assert measuring.begun.acquire(timeout=10)
    with tuned.in_use():
        pass
    measuring.may_end.release(2)
    assert measuring.done.wait(10)
    assert (sizes, measuring.kept) == ([8], [Tuning(8)])


def test_it_is_not_made_again_before_that_request_is_done() -> None:
    measuring = Measuring()
    tuned = tuner(measuring, [])
    assert measuring.begun.acquire(timeout=10)
    with tuned.in_use():
        measuring.may_end.release(2)
        assert not measuring.begun.acquire(timeout=6 * QUIET_S)
    assert measuring.done.wait(10)


def test_it_gives_up_where_it_is_never_left_alone() -> None:
    measuring, sizes = Measuring(), list[int]()
    tuned = tuner(measuring, sizes)
    for _ in range(TRIES):
        assert measuring.begun.acquire(timeout=10)
        with tuned.in_use():
            pass
        measuring.may_end.release()
    assert not measuring.begun.acquire(timeout=6 * QUIET_S)
    assert (sizes, measuring.kept) == ([], [])


def test_a_measurement_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    measuring, sizes = Measuring(fails=True), list[int]()
    measuring.may_end.release()
    tuner(measuring, sizes)
    (thread,) = (each for each in threading.enumerate() if each.name == "tuner")
    assert thread.daemon, "or a replica that goes would wait for it"
    thread.join(10)
    assert "it stays 8" in caplog.text
    assert (sizes, measuring.kept) == ([], [])


def test_what_was_measured_before_needs_no_thread(tmp_path: Path) -> None:
    Tuner(None, lambda size: None)
    assert not [each for each in threading.enumerate() if each.name == "tuner"]
