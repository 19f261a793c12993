"""Where a torch model runs when the device that was wanted is not there: on the CPU, with one warning."""

import logging
from typing import Any

from serve_app.models.devices import torch_device

logger = logging.getLogger("ray.serve.rayscribe")
HALF = ("float16", "bfloat16")


def usable_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; a wanted GPU that torch does not see is replaced by the CPU, with a warning."""
    import torch

    device = torch_device(wanted)
    if device == "cuda" and not torch.cuda.is_available():
        _warn("torch sees no GPU here")
        return "cpu"
    return device


def moved(model: Any, device: str) -> str:
    """Move a model to a device, or leave it on the CPU where that has no room; return the device that it is on."""
    try:
        model.to(device)
    except RuntimeError as error:  # torch's errors of the device, out of memory among them, are such
        if device == "cpu":
            raise
        model.to("cpu")
        _warn(str(error).splitlines()[0])
        return "cpu"
    return device


def dtype_on(device: str, compute_type: str) -> str:
    """Return torch's name of the type to compute in: `auto` keeps what the snapshot was saved as; CPUs take float32."""
    if device == "cpu" and compute_type in (*HALF, "default", "auto"):
        return "float32"
    return "auto" if compute_type in ("default", "auto") else compute_type


def _warn(why: str) -> None:
    logger.warning(
        "the GPU cannot be used (%s): decoding on the CPU in float32, several times slower; "
        "mend the driver or free its memory, or set device: cpu to expect it",
        why,
    )
