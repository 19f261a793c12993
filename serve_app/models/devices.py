"""Which device a torch model runs on, and how much of a shared GPU it may take."""

CUDA_GB = 0.5
"""What a process's CUDA context, its kernels and cuBLAS take, beside anything that an allocator hands out."""


def torch_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; `auto` takes the GPU where torch sees one."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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
