"""Transformers' own: the device it falls back to, the files it needs, what a model without languages refuses."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app.config import TranscriptionArgs
from serve_app.errors import ModelInitError, UnsupportedOption, WrongSnapshot
from serve_app.models.transcribers.compute_types import torch_type
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.on_transformers import FILES, TransformersWhisper
from serve_app.options import DecodeOptions
from serve_app.stages import Audio

ARGS = TranscriptionArgs(model="m", device="cpu", backend="transformers")


@pytest.mark.parametrize(
    ("device", "asked", "used"),
    [
        *[("cpu", "float16", "float32"), ("cpu", "default", "float32"), ("cuda", "default", "auto")],
        *[("cuda", "bfloat16", "bfloat16"), ("cpu", "float32", "float32")],
    ],
)
def test_the_type_follows_the_device(device: str, asked: str, used: str) -> None:
    assert torch_type(device, asked) == used


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
