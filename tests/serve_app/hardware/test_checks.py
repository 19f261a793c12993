from dataclasses import replace

import pytest

from model_store.upkeep.doctor import Finding
from serve_app.hardware import checks
from serve_app.hardware.checks import examine_machine, run_python
from serve_app.hardware.machine import Machine
from tests.serve_app.hardware.machines import DRIVER, machine

GPU = machine(8, 32, 24.0)


def found(looked_at: Machine, said: str | None = "1") -> dict[str, Finding]:
    probe = (lambda program: said) if said is not None else None
    return {each.name: each for each in examine_machine(looked_at, probe)}  # type: ignore[arg-type]


def with_gpu(**changes: object) -> Machine:
    return replace(GPU, gpus=(replace(GPU.gpus[0], **changes),))  # type: ignore[arg-type]


def test_a_machine_without_a_gpu_is_fine() -> None:
    states = found(machine(8, 32))
    assert {each.state for each in states.values()} == {"ok"}
    assert "models run on the CPU" in states["GPU"].text
    assert "CUDA" not in states


def test_a_machine_with_a_gpu_is_fine() -> None:
    states = found(GPU)
    assert {each.state for each in states.values()} == {"ok"}
    assert "24 GB, 24 free, compute capability 8.9" in states["GPU"].text
    assert {"CUDA", "cuDNN", "CTranslate2", "torch", "MPS"} <= states.keys()


def test_without_a_probe_nothing_slow_is_run() -> None:
    assert "CTranslate2" not in found(GPU, said=None)


@pytest.mark.parametrize(
    ("looked_at", "name", "state", "mend"),
    [
        (replace(GPU, shared_memory_gb=0.06), "shared memory", "warn", "--shm-size"),
        (with_gpu(capability=6.1), "GPU", "warn", "set device: cpu"),
        (with_gpu(free_gb=3.0), "GPU", "warn", "nvidia-smi shows which"),
        (with_gpu(exclusive=True), "GPU sharing", "fail", "start MPS"),
        (replace(GPU, driver=replace(DRIVER, cuda="11.8")), "CUDA", "fail", "update the driver"),
    ],
)
def test_what_is_wrong_is_told_with_its_mend(looked_at: Machine, name: str, state: str, mend: str) -> None:
    finding = found(looked_at)[name]
    assert finding.state == state
    assert mend in finding.mend


def test_with_mps_a_gpu_of_one_process_is_shared() -> None:
    shared = replace(with_gpu(exclusive=True), driver=replace(DRIVER, mps=True))
    assert "GPU sharing" not in found(shared)
    assert "side by side" in found(shared)["MPS"].text


@pytest.mark.parametrize("said", ["0", "0.0", "", "RuntimeError: CUDA failed with error no CUDA-capable device"])
def test_a_library_that_cannot_use_the_gpu_fails(said: str) -> None:
    finding = found(GPU, said)["CTranslate2"]
    assert finding.state == "fail"
    assert (said or "without a word") in finding.text


def test_a_torch_for_cpus_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_torch_cuda", lambda: "")
    assert found(GPU)["torch"].state == "fail"


def test_another_cudnn_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_version", lambda package: "8.9.7.29")
    assert "CTranslate2 needs 9" in found(GPU)["cuDNN"].mend


def test_programs_are_run_and_their_errors_told() -> None:
    assert run_python("print(6 * 7)") == "42"
    assert run_python("raise SystemError('broken')") == "SystemError: broken"
    pytest.importorskip("torch")
    assert float(run_python(checks.PROBES["torch"])) >= 0
