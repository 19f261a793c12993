"""Which device a model runs on, also where the one that was wanted is not there, and torch's share of a GPU.

A GPU that cannot be used is replaced by the CPU, with one warning per process, unless the config requires it.
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from serve_app.config import DeviceArgs
from serve_app.errors import GpuUnavailable

T = TypeVar("T")
CUDA_GB = 0.5
"""What a process's CUDA context, its kernels and cuBLAS take, beside anything that an allocator hands out."""
BESIDE = 4
"""What the size of a batch is divided by on a GPU, where it starts beside another: both must fit into its memory."""
MEND = "mend the driver (`nvidia-smi` must list a GPU here), free its memory, or reserve a share of it by num_gpus"
logger = logging.getLogger("ray.serve.rayscribe")
_telling = threading.Lock()
_told: list[str] = []
"""Why the CPU is used in this process; the first reason was logged."""


def beside(device: str, size: int) -> int | None:
    """Return the most windows of a batch that starts beside another one of `size`; None: as many, as on a CPU."""
    return None if device == "cpu" else max(1, size // BESIDE)


def torch_sees_gpu() -> bool:
    """Whether torch sees a GPU here."""
    import torch

    return bool(torch.cuda.is_available())


def usable_device(args: DeviceArgs, library: str = "torch", sees_gpu: Callable[[], bool] = torch_sees_gpu) -> str:
    """Return `cuda` or `cpu`: `auto` takes a GPU that the library sees, and `cuda` the CPU where it sees none.

    Raises GpuUnavailable where it sees none and one is required.
    """
    if args.device == "cpu":
        return "cpu"
    if sees_gpu():
        return "cuda"
    if args.device == "cuda":
        give_up_gpu(args, f"{library} sees no GPU here")
    return "cpu"


def load_on(args: DeviceArgs, device: str, load: Callable[[str], T]) -> tuple[T, str]:
    """Load a model onto a device, or onto the CPU where the GPU fails; return it and the device that it is on.

    Raises GpuUnavailable where the GPU fails and is required, and the library's own error where the CPU fails too.
    """
    try:
        return load(device), device
    except RuntimeError as error:  # torch's and CTranslate2's errors of the device, out of memory among them, are such
        if device == "cpu":
            raise
        why = str(error).strip().partition("\n")[0]
        if args.gpu_required:
            raise _unavailable(why) from error
    model = load("cpu")
    give_up_gpu(args, why)
    return model, "cpu"


def give_up_gpu(args: DeviceArgs, why: str, mend: str = MEND) -> None:
    """Tell once per process that the CPU does the GPU's work; raises GpuUnavailable where the GPU is required."""
    if args.gpu_required:
        raise _unavailable(why, mend)
    with _telling:
        _told.append(why)
        if len(_told) > 1:
            return
    logger.warning(
        "the GPU cannot be used (%s): running on the CPU, several times slower, in float32 in place of half floats; "
        "%s; or set device: cpu to expect it, or gpu_required: true to fail instead",
        why,
        mend,
    )


def _unavailable(why: str, mend: str = MEND) -> GpuUnavailable:
    return GpuUnavailable(
        f"gpu_required is true, but the GPU cannot be used ({why}); {mend}; or leave it out to run on the CPU", "device"
    )


def cap_torch(num_gpus: float) -> float | None:
    """Keep this process's torch within its share of the GPU; return the fraction set, None where there is no GPU.

    Beyond it torch raises OutOfMemoryError instead of taking what the neighbours were promised; a cuDNN algorithm whose
    work space does not fit is passed over for the next one. To be called before the first model is loaded.

    CTranslate2 has no such cap. What it takes is bounded by `batch_size`, which is checked against the share when the
    config is read; what it frees goes back to the driver (its default allocator, cuda_malloc_async, keeps nothing).
    """
    import torch

    if not torch.cuda.is_available():
        return None
    fraction = torch_fraction(num_gpus, torch.cuda.get_device_properties(0).total_memory)
    torch.cuda.set_per_process_memory_fraction(fraction)
    return fraction


def torch_fraction(num_gpus: float, total_bytes: int) -> float:
    """Return the fraction of a GPU for torch's allocator: the share, less what CUDA's context takes beside it."""
    if not num_gpus:
        return 1.0  # nothing was reserved, so nothing was promised
    return max(0.01, min(num_gpus, 1.0) - CUDA_GB * 1e9 / total_bytes)
