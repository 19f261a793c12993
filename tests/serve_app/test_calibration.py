"""Calibration over a model whose time is written down, and once over the demo model on the real clock."""

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from serve_app.config import TranscriptionArgs
from serve_app.models import calibration
from serve_app.models.calibration import (
    BUDGET_S,
    Calibration,
    Tuning,
    batch_size_of,
    device_name,
    key_of,
    measured,
    pending,
    place,
)
from serve_app.models.transcribers.on_ctranslate2 import FasterWhisper as Transcriber

ARGS = TranscriptionArgs(model="m", device="cpu")
DIGEST = "a" * 64


class Written:
    """A model of which a batch takes what `cost(size)` says, on a clock of its own; `room` windows fit in memory."""

    device, compute_type, threads = "cpu", "int8", 2

    def __init__(self, cost: Callable[[int], float], room: int = 1000) -> None:
        self.now = 0.0
        self.batches: list[int] = []
        self._cost, self._room = cost, room

    def forced(self, size: int) -> None:
        if size > self._room:
            raise RuntimeError("CUDA failed with error out of memory")
        self.batches.append(size)
        self.now += self._cost(size)

    def clock(self) -> float:
        return self.now


def calibrated(
    model: Any, args: TranscriptionArgs, cache: Path | str, digest: str, clock: Any = time.perf_counter
) -> Tuning:
    """Return what is kept, else measure and keep it."""
    calibration = Calibration(model, args, cache, digest)
    if (tuning := calibration.kept()) is None:
        tuning = calibration.measure(clock)
        calibration.keep(tuning)
    return tuning


def run(model: Written, args: TranscriptionArgs = ARGS) -> Tuning:
    return measured(model, args, model.clock)


def test_the_smallest_batch_near_the_best_is_taken() -> None:
    model = Written(lambda size: {1: 0.1, 2: 0.16, 4: 0.2, 8: 0.32, 16: 0.62}[size])
    tuning = run(model)
    assert tuning.seconds_per_window == pytest.approx({1: 0.1, 2: 0.08, 4: 0.05, 8: 0.04, 16: 0.03875})
    assert tuning.batch_size == 8
    assert model.batches == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16]


def test_where_batching_gains_nothing_windows_go_one_by_one_and_measuring_ends_early() -> None:
    model = Written(lambda size: 0.01 * size**1.1)
    assert run(model).batch_size == 1
    assert max(model.batches) == 4


def test_the_first_round_pays_for_memory_and_does_not_count() -> None:
    model = Written(lambda size: 0.01 * size if model.batches.count(size) > 1 else 0.05 * size)
    assert run(model).seconds_per_window == pytest.approx({1: 0.01, 2: 0.01, 4: 0.01})


def test_a_given_number_bounds_the_batch() -> None:
    model = Written(lambda size: 0.01)
    assert run(model, TranscriptionArgs(model="m", batch_size=6)).batch_size == 6
    assert sorted(set(model.batches)) == [1, 2, 4, 6]
    assert run(Written(lambda size: 0.01), TranscriptionArgs(model="m", batch_size=1)).batch_size == 1


def test_a_gpu_is_measured_further() -> None:
    assert run(Written(lambda size: 0.01), TranscriptionArgs(model="m")).batch_size == 32


def test_a_slow_model_is_not_measured_for_long() -> None:
    model = Written(lambda size: 0.5 + 3 * size)
    tuning = run(model)
    assert set(tuning.seconds_per_window) == {1, 2}
    assert tuning.batch_size == 2
    assert model.batches == [1, 1, 2, 2]
    quick = Written(lambda size: 0.1 + 0.1 * size)
    run(quick)
    assert quick.now <= BUDGET_S + 4 * 0.1 * 17


def test_a_size_is_presumed_that_there_was_no_time_for_where_the_last_one_gained_much() -> None:
    model = Written(lambda size: 3.0 + size)
    tuning = run(model)
    assert tuning.batch_size == 4
    assert run(model, TranscriptionArgs(model="m", device="cpu", batch_size=2)).batch_size == 2
    full = Written(lambda size: 0.1 + 0.1 * size, room=2)
    assert run(full).batch_size == 2
    bounded = run(Written(lambda size: 0.4 + 0.02 * size), TranscriptionArgs(model="m", device="cpu", batch_size=6))
    assert (bounded.batch_size, set(bounded.seconds_per_window)) == (6, {1, 2, 4})
    worse = run(Written(lambda size: {1: 0.3, 2: 0.36, 4: 0.74}[size]))
    assert (worse.batch_size, set(worse.seconds_per_window)) == (2, {1, 2, 4})


def test_a_batch_that_does_not_fit_ends_measuring() -> None:
    model = Written(lambda size: 0.01, room=8)
    assert run(model).batch_size == 8
    with pytest.raises(RuntimeError, match="out of memory"):
        run(Written(lambda size: 0.01, room=0))


@pytest.mark.parametrize(("device", "size"), [("cpu", 4), ("cuda", 16)])
def test_until_it_was_measured_a_model_has_a_size_to_begin_with(tmp_path: Path, device: str, size: int) -> None:
    model = Written(lambda size: 0.01)
    model.device = device
    calibration = Calibration(model, ARGS, tmp_path, DIGEST)
    assert batch_size_of(calibration) == size
    assert (model.batches, pending(model), pending(model)) == ([], calibration, None)
    small = Calibration(Written(lambda size: 0.01), ARGS.model_copy(update={"batch_size": 2}), tmp_path, DIGEST)
    assert batch_size_of(small) == 2


def test_a_model_that_nobody_measures_is_not_kept_for_it(tmp_path: Path) -> None:
    model = Written(lambda size: 0.01)
    gone = weakref.ref(model)
    batch_size_of(Calibration(model, ARGS, tmp_path, DIGEST))
    del model
    gc.collect()
    assert gone() is None


def test_what_was_measured_before_is_not_pending(tmp_path: Path) -> None:
    model = Written(lambda size: 0.01)
    calibration = Calibration(model, ARGS, tmp_path, DIGEST)
    calibration.keep(Tuning(4))
    assert batch_size_of(calibration) == 4
    assert pending(model) is None


def test_what_was_measured_is_kept_for_the_next_process(tmp_path: Path) -> None:
    first = Written(lambda size: 0.01)
    tuning = calibrated(first, ARGS, tmp_path, DIGEST, first.clock)
    second = Written(lambda size: 0.02 * size)
    assert calibrated(second, ARGS, str(tmp_path), DIGEST, second.clock) == tuning
    assert second.batches == []
    (file,) = (tmp_path / "calibration").iterdir()
    assert json.loads(file.read_text())["key"]["snapshot"] == DIGEST


@pytest.mark.parametrize(
    ("changes", "args", "digest"),
    [
        ({"threads": 4}, ARGS, DIGEST),
        ({"compute_type": "float32"}, ARGS, DIGEST),
        ({"device": "cuda"}, ARGS, DIGEST),
        ({}, ARGS.model_copy(update={"beam_size": 1}), DIGEST),
        ({}, ARGS.model_copy(update={"batch_size": 4}), DIGEST),
        ({}, ARGS, "b" * 64),
    ],
)
def test_what_changes_the_work_is_measured_again(
    tmp_path: Path, changes: dict[str, object], args: TranscriptionArgs, digest: str
) -> None:
    model, other = Written(lambda size: 0.01), Written(lambda size: 0.01)
    calibrated(model, ARGS, tmp_path, DIGEST, model.clock)
    for name, value in changes.items():
        setattr(other, name, value)
    calibrated(other, args, tmp_path, digest, other.clock)
    assert other.batches
    assert len(list((tmp_path / "calibration").iterdir())) == 2


def test_other_libraries_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(Written(lambda size: 1), ARGS, DIGEST)
    monkeypatch.setattr(calibration, "version", lambda name: "99")
    assert place(tmp_path, before) != place(tmp_path, key_of(Written(lambda size: 1), ARGS, DIGEST))


def kept(batch_size: str = "4", seconds: str = "{}") -> str:
    return f'{{"key": KEY, "batch_size": {batch_size}, "seconds_per_window": {seconds}}}'


@pytest.mark.parametrize(
    "content",
    [
        *["", "{", "[]", "null", '{"key": {}}', "\x00", '{"key": KEY}'],
        *[
            kept().replace("KEY", "{}"),
            kept("0"),
            kept("99"),
            kept("[]"),
            kept(seconds="[]"),
            kept(seconds='{"a": 1}'),
        ],
    ],
)
def test_a_broken_file_is_measured_again_and_mended(tmp_path: Path, content: str) -> None:
    model = Written(lambda size: 0.01)
    key = key_of(model, ARGS, DIGEST)
    path = place(tmp_path, key)
    path.parent.mkdir()
    path.write_text(content.replace("KEY", json.dumps(key)))
    tuning = calibrated(model, ARGS, tmp_path, DIGEST, model.clock)
    assert model.batches
    again = Written(lambda size: 0.01)
    assert calibrated(again, ARGS, tmp_path, DIGEST, again.clock) == tuning
    assert again.batches == []


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    file.write_text("")
    model = Written(lambda size: 0.01)
    assert calibrated(model, ARGS, file, DIGEST, model.clock).batch_size == 16
    assert "calibration is not kept" in caplog.text


def test_processes_of_one_machine_measure_in_turn(tmp_path: Path) -> None:
    at_work, overlapped = threading.Lock(), list[bool]()

    class Slow(Written):
        def forced(self, size: int) -> None:
            overlapped.append(not at_work.acquire(blocking=False))
            time.sleep(0.002)  # the work
            if not overlapped[-1]:
                at_work.release()

    args = TranscriptionArgs(model="m", device="cpu")
    threads = [
        threading.Thread(target=Calibration(Slow(lambda size: 0), args, tmp_path, DIGEST).measure) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overlapped) >= 3 * 6
    assert not any(overlapped)


def test_whoever_waited_long_for_others_measures_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "PATIENCE_S", 0.01)
    model = Written(lambda size: 0.01)
    (tmp_path / "locks").mkdir()
    with FileLock(tmp_path / "locks" / "calibration"):
        assert Calibration(model, ARGS, tmp_path, DIGEST).measure(model.clock).batch_size == 16


def test_devices_have_names(tmp_path: Path) -> None:
    assert device_name("cpu")
    assert device_name("cuda")
    information = tmp_path / "information"
    information.write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    assert calibration._field([tmp_path / "none", information], "Model") == "NVIDIA H200"
    assert calibration._field([information], "model name") is None


def test_the_demo_model_is_measured_in_seconds(tmp_path: Path, demo_models: Path) -> None:
    args = TranscriptionArgs(model="m", device="cpu", compute_type="int8", batch_size=2, beam_size=1)
    model = Transcriber(demo_models / "whisper", args, ["en"], 1)
    tuning = calibrated(model, args, tmp_path, DIGEST)
    assert tuning.batch_size in tuning.seconds_per_window
    assert all(0 < seconds < 10 for seconds in tuning.seconds_per_window.values())
    began = time.perf_counter()
    assert calibrated(model, args, tmp_path, DIGEST) == tuning
    assert time.perf_counter() - began < 0.1
