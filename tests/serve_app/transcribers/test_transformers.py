"""Transformers' own: the device it falls back to, the files it needs, what a model without languages refuses."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.config import TranscriptionArgs
from serve_app.errors import ModelInitError, UnsupportedOption, WrongSnapshot
from serve_app.models.transcribers.fallback import dtype_on, moved, usable_device
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.on_transformers import FILES, TransformersWhisper
from serve_app.options import DecodeOptions
from serve_app.stages import Audio

ARGS = TranscriptionArgs(model="m", device="cpu", backend="transformers")


def test_a_gpu_that_is_not_there_is_one_warning_that_names_the_mend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(logging.getLogger("ray"), "propagate", True)
    assert (usable_device("cuda"), usable_device("auto"), usable_device("cpu")) == ("cpu", "cpu", "cpu")
    assert len(caplog.messages) == 1
    assert "torch sees no GPU" in caplog.text
    assert "set device: cpu" in caplog.text


class Full:
    """A model for which the GPU has no room; `broken`: nor has the CPU."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.places = broken, list[str]()

    def to(self, device: str) -> None:
        self.places.append(device)
        if device == "cuda" or self.broken:
            raise RuntimeError("CUDA error: out of memory\nmore")


def test_a_gpu_without_room_is_left_for_the_cpu() -> None:
    model = Full()
    assert moved(model, "cuda") == "cpu"
    assert model.places == ["cuda", "cpu"]
    with pytest.raises(RuntimeError, match="out of memory"):
        moved(Full(broken=True), "cpu")


@pytest.mark.parametrize(
    ("device", "asked", "used"),
    [
        *[("cpu", "float16", "float32"), ("cpu", "default", "float32"), ("cuda", "default", "auto")],
        *[("cuda", "bfloat16", "bfloat16"), ("cpu", "float32", "float32")],
    ],
)
def test_the_type_follows_the_device(device: str, asked: str, used: str) -> None:
    assert dtype_on(device, asked) == used


def test_missing_files_are_listed(tmp_path: Path) -> None:
    for name in FILES[:-2]:
        (tmp_path / name).write_text("{}")
    with pytest.raises(WrongSnapshot, match=r"lacks tokenizer\.json, \*\.safetensors, which backend transformers"):
        TransformersWhisper(tmp_path, ARGS, ["en"], 1)


def test_broken_files_are_an_error_of_the_model(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name.replace("*", "model")).write_text("{")
    with pytest.raises(ModelInitError, match=r"Transformers cannot load .*; verify or publish it again"):
        TransformersWhisper(tmp_path, ARGS, ["en"], 1)


def test_an_english_model_neither_translates_nor_detects(
    loaded: Callable[..., Transcriber], ten_seconds: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = loaded("transformers", ("de", "en", "fr"))
    monkeypatch.setattr(model, "_own", SimpleNamespace(is_multilingual=False))
    with pytest.raises(UnsupportedOption, match="cannot translate") as caught:
        model.transcribe([ten_seconds], DecodeOptions("en", "translate"))
    assert caught.value.param == "model"
    assert model.detect([ten_seconds]) == [{"de": 1.0}]


def test_a_batch_of_a_fixed_length_can_be_measured(loaded: Callable[..., Transcriber]) -> None:
    from serve_app.models.calibration import Measurable

    model = loaded("transformers")
    assert isinstance(model, Measurable)
    assert (model.device, model.compute_type) == ("cpu", "float32")
    model.forced(2)
