"""Each back end where the GPU that was wanted is not there: the CPU with one warning, or an error."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch

from serve_app.config import TranscriptionArgs
from serve_app.errors import GpuUnavailable
from serve_app.models.transcribers.compute_types import ctranslate2_type
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.registry import backend
from serve_app.options import DecodeOptions
from serve_app.stages import Audio

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
MENDS = {"faster-whisper": "nvidia-smi", "transformers": "nvidia-smi", "whisper-cpp": "GGML_CUDA=1"}


@pytest.fixture(params=MENDS)
def wanting(request: pytest.FixtureRequest, snapshot_of: Callable[[str], Path]) -> Callable[..., Transcriber]:
    """Return a function that loads each back end in turn, for a GPU, with further args."""
    name = request.param
    if name == "whisper-cpp":
        pytest.importorskip("_pywhispercpp")

    def load(**further: Any) -> Transcriber:
        asked = {"model": "demo-whisper", "device": "cuda", "backend": name, **further}
        return backend(name)(snapshot_of(name), TranscriptionArgs.model_validate(asked), ["en"], 1)

    load.__name__ = name
    return load


@WITHOUT_GPU
def test_without_a_gpu_the_cpu_hears_the_same(
    wanting: Callable[..., Transcriber],
    loaded: Callable[..., Transcriber],
    ten_seconds: Audio,
    warned: list[str],
) -> None:
    texts = [
        model.transcribe([ten_seconds], DecodeOptions("en"))[0].text for model in (wanting(), loaded(wanting.__name__))
    ]
    assert texts[0] == texts[1] != ""
    (line,) = warned
    assert "sees no GPU here): running on the CPU" in line
    assert MENDS[wanting.__name__] in line


@WITHOUT_GPU
def test_a_required_gpu_that_is_not_there_is_an_error(wanting: Callable[..., Transcriber], warned: list[str]) -> None:
    with pytest.raises(GpuUnavailable, match=f"sees no GPU here.*{MENDS[wanting.__name__]}"):
        wanting(gpu_required=True)
    assert warned == []


@pytest.fixture(params=["faster-whisper", "transformers"])
def failing(
    request: pytest.FixtureRequest, snapshot_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Load a back end whose library is told that there is a GPU, and finds no driver: its own failure."""
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def load(**further: Any) -> Any:
        asked = {"model": "m", "device": "cuda", "backend": request.param, "compute_type": "float16", **further}
        return backend(request.param)(snapshot_of(request.param), TranscriptionArgs.model_validate(asked), ["en"], 1)

    return load


@WITHOUT_GPU
def test_a_gpu_that_fails_is_left_for_the_cpu_in_float32(failing: Callable[..., Any], warned: list[str]) -> None:
    model = failing()
    model.warm_up()
    assert (model.device, model.compute_type) == ("cpu", "float32")
    (line,) = warned
    assert "driver" in line.lower()


@WITHOUT_GPU
def test_a_required_gpu_that_fails_is_an_error(failing: Callable[..., Any], warned: list[str]) -> None:
    with pytest.raises(GpuUnavailable, match=r"(?i)driver"):
        failing(gpu_required=True)


ALL = frozenset({"float32", "int8", "int8_float32"})


@pytest.mark.parametrize(
    ("wanted", "supported", "used"),
    [
        *[("float16", ALL, "float32"), ("int8_float16", ALL, "int8_float32"), ("int8_bfloat16", ALL, "int8_float32")],
        *[("int8", ALL, "int8"), ("default", ALL, "default"), ("auto", ALL, "auto"), ("int16", ALL, "float32")],
        *[("bfloat16", ALL, "float32"), ("bfloat16", ALL | {"bfloat16"}, "bfloat16")],
        *[("int8_float16", {"float32"}, "float32"), ("int8", {"float32"}, "float32")],
    ],
)
def test_a_type_meant_for_a_gpu_becomes_what_the_cpu_computes_in(
    wanted: str, supported: set[str], used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: supported)
    args = TranscriptionArgs.model_validate({"model": "m", "device": "cuda", "compute_type": wanted})
    assert ctranslate2_type("cpu", args) == used
    assert ctranslate2_type("cuda", args) == wanted


@pytest.mark.parametrize("wanted", ["int16", "bfloat16", "int8"])
def test_a_type_asked_for_on_the_cpu_is_not_replaced(wanted: str) -> None:
    args = TranscriptionArgs.model_validate({"model": "m", "device": "cpu", "compute_type": wanted})
    assert ctranslate2_type("cpu", args) == wanted


@WITHOUT_GPU
@pytest.mark.parametrize(
    ("wanted", "used"), [("float16", "float32"), ("int8_float16", "int8_float32"), ("int8_bfloat16", "int8_float32")]
)
def test_ctranslate2_computes_in_the_type_that_replaces_one(
    wanted: str, used: str, snapshot_of: Callable[[str], Path], warned: list[str]
) -> None:
    args = TranscriptionArgs.model_validate({"model": "m", "device": "auto", "compute_type": wanted})
    languages: Sequence[str] = ["en"]
    model: Any = backend("faster-whisper")(snapshot_of("faster-whisper"), args, languages, 1)
    assert (model.device, model.compute_type) == ("cpu", used)
    assert warned == []
