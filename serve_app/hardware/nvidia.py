"""The NVIDIA GPUs of this machine, as their driver's library (NVML) tells; CUDA itself is not started."""

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

OLDEST = 7.0
"""The least compute capability: torch 2.8 for CUDA 12.8 has no code for older GPUs, CTranslate2 no quick float16."""
MPS_CONTROL = "/tmp/nvidia-mps/control"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or an instance of one (MIG): its memory in GB (10⁹ bytes), and its compute capability, such as 8.9.

    `exclusive`: only one process at a time may use it.
    """

    name: str
    memory_gb: float
    free_gb: float
    capability: float
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver's version, the newest CUDA that it runs, and whether MPS lets processes compute side by side."""

    version: str
    cuda: str
    mps: bool


def look(load: Any = import_module, control: str = MPS_CONTROL) -> tuple[Driver | None, tuple[Gpu, ...]]:
    """Return the driver and its GPUs; none where there is no driver, or none that answers."""
    try:
        nvml = load("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no package, no driver, or a driver that does not fit its kernel: no GPU
        return None, ()
    try:
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
        driver = Driver(
            _text(nvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}", mps_runs(control)
        )
        gpus = [_gpu(nvml, gpu, part) for gpu in _all(nvml) for part in _parts(nvml, gpu) if _visible(nvml, gpu, part)]
        return driver, tuple(gpus)
    finally:
        nvml.nvmlShutdown()


def mps_runs(control: str = MPS_CONTROL) -> bool:
    """Whether the control daemon of CUDA's multi-process service is there."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY")
    return Path(folder, "control").exists() if folder else Path(control).exists()


def _all(nvml: Any) -> list[Any]:
    return [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]


def _parts(nvml: Any, gpu: Any) -> list[Any]:
    """Return the instances that a GPU is cut into; else itself."""
    parts = []
    with suppress(nvml.NVMLError):  # a GPU that cannot be cut
        if nvml.nvmlDeviceGetMigMode(gpu)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
            for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
                with suppress(nvml.NVMLError):  # fewer than there could be
                    parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return parts or [gpu]


def _gpu(nvml: Any, gpu: Any, part: Any) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(part)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(gpu)
    exclusive = False
    with suppress(nvml.NVMLError):  # what an older or smaller GPU does not tell
        exclusive = nvml.nvmlDeviceGetComputeMode(gpu) == nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    total, free = (round(size / 1e9, 1) for size in (memory.total, memory.free))
    return Gpu(_text(nvml.nvmlDeviceGetName(part)), total, free, major + minor / 10, exclusive)


def _visible(nvml: Any, gpu: Any, part: Any) -> bool:
    """Whether CUDA_VISIBLE_DEVICES lets this process see it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return True
    index, uuid = str(nvml.nvmlDeviceGetIndex(gpu)), _text(nvml.nvmlDeviceGetUUID(part))
    asked = [name.strip() for name in named.split(",")]
    return index in asked or any(len(name) > len("GPU-") and uuid.startswith(name) for name in asked)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
