"""Which device a torch model runs on."""


def torch_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; `auto` takes the GPU where torch sees one."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
