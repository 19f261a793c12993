"""Where models run when the GPU that was wanted is not there: on the CPU with one warning, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.config import AlignmentArgs, DeviceArgs, DiarizationArgs
from serve_app.errors import GpuUnavailable
from serve_app.models.devices import give_up_gpu, load_on, usable_device

CPU, AUTO, CUDA = (DeviceArgs(device=device) for device in ("cpu", "auto", "cuda"))
REQUIRED = DeviceArgs(device="cuda", gpu_required=True)


@pytest.mark.parametrize(("args", "used"), [(CPU, "cpu"), (AUTO, "cuda"), (CUDA, "cuda"), (REQUIRED, "cuda")])
def test_a_gpu_that_is_seen_is_used_where_it_is_wanted(args: DeviceArgs, used: str, warned: list[str]) -> None:
    assert usable_device(args, "torch", lambda: True) == used
    assert warned == []


@pytest.mark.parametrize("args", [CPU, AUTO])
def test_the_cpu_is_used_without_a_word_where_nothing_else_was_asked_for(args: DeviceArgs, warned: list[str]) -> None:
    assert usable_device(args, "torch", lambda: False) == "cpu"
    assert warned == []


def test_a_gpu_that_is_not_there_is_one_warning_in_a_process_that_names_the_mend(
    warned: list[str],
) -> None:
    assert [usable_device(CUDA, library, lambda: False) for library in ("torch", "CTranslate2")] == ["cpu", "cpu"]
    assert warned == [
        "the GPU cannot be used (torch sees no GPU here): running on the CPU, several times slower, in float32 "
        "in place of half floats; mend the driver (`nvidia-smi` must list a GPU here), free its memory, "
        "or reserve a share of it by num_gpus; or set device: cpu to expect it, or gpu_required: true to fail instead"
    ]


def test_a_required_gpu_that_is_not_there_is_an_error_that_names_the_mend(warned: list[str]) -> None:
    with pytest.raises(GpuUnavailable, match=r"gpu_required is true, but .*\(torch sees no GPU here\).*nvidia-smi"):
        usable_device(REQUIRED, "torch", lambda: False)
    with pytest.raises(GpuUnavailable, match="build it anew"):
        give_up_gpu(REQUIRED, "no GPU", "build it anew")
    assert warned == []


class Loading:
    """What loads a model: it fails on these devices, in the words of torch."""

    def __init__(self, *fails: str) -> None:
        self.fails, self.tried = fails, list[str]()

    def __call__(self, device: str) -> str:
        self.tried.append(device)
        if device in self.fails:
            raise RuntimeError(f"CUDA error: out of memory on {device}\nCompile with TORCH_USE_CUDA_DSA")
        return f"model on {device}"


def test_a_gpu_that_has_room_holds_the_model(warned: list[str]) -> None:
    assert load_on(CUDA, "cuda", Loading()) == ("model on cuda", "cuda")
    assert warned == []


@pytest.mark.parametrize("args", [CUDA, AUTO])
def test_a_gpu_without_room_is_left_for_the_cpu(args: DeviceArgs, warned: list[str]) -> None:
    loading = Loading("cuda")
    assert load_on(args, "cuda", loading) == ("model on cpu", "cpu")
    assert loading.tried == ["cuda", "cpu"]
    (line,) = warned
    assert "(CUDA error: out of memory on cuda): running on the CPU" in line


def test_a_required_gpu_without_room_is_an_error(warned: list[str]) -> None:
    loading = Loading("cuda")
    with pytest.raises(GpuUnavailable, match=r"\(CUDA error: out of memory on cuda\).*free its memory") as caught:
        load_on(REQUIRED, "cuda", loading)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert loading.tried == ["cuda"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_model_that_loads_nowhere_fails_in_the_librarys_words(device: str, warned: list[str]) -> None:
    with pytest.raises(RuntimeError, match="out of memory on cpu"):
        load_on(CUDA, device, Loading("cuda", "cpu"))
    assert warned == []


def aligner(models: Path, **further: Any) -> Any:
    from serve_app.models.aligner import Aligner

    args = AlignmentArgs.model_validate({"models": {"en": "demo-align"}, "device": "cuda", **further})
    return Aligner(models / "align", args, "en", 1)


def diarizer(models: Path, **further: Any) -> Any:
    from serve_app.models.diarizer import Diarizer

    args = DiarizationArgs.model_validate({"model": "demo-diarization", "device": "cuda", **further})
    return Diarizer(models / "diarization", args, 1)


MODELS = pytest.mark.parametrize("load", [aligner, diarizer])


def torch_that_sees(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of a GPU on this machine, which has none."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("for a machine without a GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)


@MODELS
def test_without_a_gpu_the_model_works_on_the_cpu(
    load: Callable[..., Any], demo_models: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    torch_that_sees(False, monkeypatch)
    model = load(demo_models)
    model.warm_up()
    assert model.device == "cpu"
    (line,) = warned
    assert "torch sees no GPU here" in line


@MODELS
def test_a_gpu_that_fails_is_left_for_the_cpu(
    load: Callable[..., Any], demo_models: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    """torch's own failure: it is told that there is a GPU, and finds no driver."""
    torch_that_sees(True, monkeypatch)
    load(demo_models).warm_up()
    (line,) = warned
    assert "NVIDIA" in line


@MODELS
@pytest.mark.parametrize("gpu", [False, True])
def test_no_model_loads_without_the_gpu_that_it_requires(
    load: Callable[..., Any], gpu: bool, demo_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_that_sees(gpu, monkeypatch)
    with pytest.raises(GpuUnavailable, match="gpu_required is true"):
        load(demo_models, gpu_required=True)


def test_a_batch_is_as_large_as_the_device_that_is_used_likes(
    demo_models: Path, monkeypatch: pytest.MonkeyPatch, warned: list[str]
) -> None:
    torch_that_sees(True, monkeypatch)
    assert aligner(demo_models).batch_size == 1
