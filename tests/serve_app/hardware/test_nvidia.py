"""NVML's answers are a stand-in's here: the names, units and errors are those of nvidia-ml-py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from serve_app.hardware.nvidia import Driver, Gpu, look

MIB = 2**20


class Nvml:
    """Two GPUs; the second one may be cut into two instances."""

    NVMLError = pynvml.NVMLError
    NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE

    def __init__(self, *, mig: bool = False, old: bool = False, exclusive: bool = False) -> None:
        self.mig, self.old, self.exclusive = mig, old, exclusive
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12080

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.86.15"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return str(index)

    def nvmlDeviceGetIndex(self, handle: str) -> int:
        return int(handle)

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return f"MIG-{handle}" if "/" in handle else f"GPU-{handle}f00"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA L4 1g" if "/" in handle else "NVIDIA L4"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        total = 5000 if "/" in handle else 23034
        return SimpleNamespace(total=total * MIB, free=(total - 1000) * MIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle: str) -> tuple[int, int]:
        return 8, 9

    def nvmlDeviceGetComputeMode(self, handle: str) -> int:
        if self.old:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS if self.exclusive else pynvml.NVML_COMPUTEMODE_DEFAULT

    def nvmlDeviceGetMigMode(self, handle: str) -> list[int]:
        if self.old:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(self.mig and handle == "1"), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        if index > 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"{handle}/{index}"


def seen(nvml: Nvml, control: str = "/nonexistent") -> tuple[Driver | None, tuple[Gpu, ...]]:
    found = look(lambda name: nvml, control)
    assert nvml.open == 0
    return found


@pytest.fixture(autouse=True)
def _all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)


def test_gpus_and_driver() -> None:
    driver, gpus = seen(Nvml())
    assert driver == Driver("570.86.15", "12.8", mps=False)
    assert gpus == (Gpu("NVIDIA L4", 24.2, 23.1, 8.9),) * 2


def test_instances_count_as_gpus() -> None:
    assert [gpu.memory_gb for gpu in seen(Nvml(mig=True))[1]] == [24.2, 5.2, 5.2]


def test_a_gpu_that_tells_less_is_a_gpu() -> None:
    assert len(seen(Nvml(old=True))[1]) == 2


def test_one_process_at_a_time() -> None:
    assert all(gpu.exclusive for gpu in seen(Nvml(exclusive=True))[1])


@pytest.mark.parametrize(("visible", "count"), [("0", 1), ("1,0", 2), ("GPU-1f", 1), ("", 0), ("-1", 0), ("GPU-", 0)])
def test_what_this_process_is_shown_counts(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert len(seen(Nvml())[1]) == count


def test_mps_is_seen_by_its_control_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "control").touch()
    assert seen(Nvml(), str(tmp_path / "control"))[0] == Driver("570.86.15", "12.8", mps=True)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "none"))
    assert seen(Nvml(), str(tmp_path / "control"))[0] == Driver("570.86.15", "12.8", mps=False)


def test_no_driver_is_no_gpu() -> None:
    class Absent(Nvml):
        def nvmlInit(self) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    assert look(lambda name: Absent()) == (None, ())
    assert look(absent) == (None, ())
