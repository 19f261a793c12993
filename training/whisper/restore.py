"""The way back from `export`: the shipped CTranslate2 files as a Transformers state dict, and as Transformers' folder.

8-bit weights are multiplied out, so that the restored model computes what the shipped one does, but for rounding.
"""

from __future__ import annotations

import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = ("float32", "int8", "int16", "int32", "float16")
"""CTranslate2's numbers of the types that we read."""
Arrays = dict[str, NDArray[Any]]


class _Reader:
    """Reads a model.bin from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, kind: str) -> int:
        value: int = struct.unpack_from(f"<{kind}", self._data, self._at)[0]
        self._at += struct.calcsize(kind)
        return value

    def take(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length : self._at]

    def text(self) -> str:
        return self.take(self.number("H")).rstrip(b"\0").decode()


def variables(model_bin: Path) -> Arrays:
    """Return the variables of a CTranslate2 model.bin by name; 8-bit weights as float32."""
    reader = _Reader(model_bin.read_bytes())
    reader.number("I"), reader.text(), reader.number("I")  # version, name, revision
    found: Arrays = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = TYPES[reader.number("B")]
        found[name] = np.frombuffer(reader.take(reader.number("I")), kind).reshape(shape)
    return {name: _multiplied_out(name, found) for name in found if not name.endswith("_scale")}


def _multiplied_out(name: str, found: Arrays) -> NDArray[Any]:
    value, scale = found[name], found.get(f"{name}_scale")
    if scale is None:
        return value
    return (value.astype(np.float32) / scale.reshape(-1, *[1] * (value.ndim - 1))).astype(np.float32)


def weights(model_bin: Path) -> Arrays:
    """Return the weights with the names of Transformers' `WhisperModel`."""
    found = variables(model_bin)
    named: Arrays = {"decoder.embed_tokens.weight": found["decoder/embeddings/weight"]}
    for side in ("encoder", "decoder"):
        named[f"{side}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"]
        named |= _norm(found, f"{side}/layer_norm", f"{side}.layer_norm")
        layers = sum(name.endswith("ffn/linear_0/weight") and name.startswith(side) for name in found)
        for layer in range(layers):
            named |= _layer(found, f"{side}/layer_{layer}", f"{side}.layers.{layer}")
    for name in ("conv1", "conv2"):
        named |= {f"encoder.{name}.{part}": found[f"encoder/{name}/{part}"] for part in ("weight", "bias")}
    return named


def _layer(found: Arrays, old: str, new: str) -> Arrays:
    named = _norm(found, f"{old}/self_attention/layer_norm", f"{new}.self_attn_layer_norm")
    named |= _linears(found, f"{old}/self_attention/linear_0", f"{new}.self_attn", ("q_proj", "k_proj", "v_proj"))
    named |= _linears(found, f"{old}/self_attention/linear_1", f"{new}.self_attn", ("out_proj",))
    if f"{old}/attention/linear_0/weight" in found:
        named |= _norm(found, f"{old}/attention/layer_norm", f"{new}.encoder_attn_layer_norm")
        parts = (("q_proj",), ("k_proj", "v_proj"), ("out_proj",))
        for number, names in enumerate(parts):
            named |= _linears(found, f"{old}/attention/linear_{number}", f"{new}.encoder_attn", names)
    named |= _norm(found, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
    named |= _linears(found, f"{old}/ffn/linear_0", new, ("fc1",))
    return named | _linears(found, f"{old}/ffn/linear_1", new, ("fc2",))


def _norm(found: Arrays, old: str, new: str) -> Arrays:
    return {f"{new}.weight": found[f"{old}/gamma"], f"{new}.bias": found[f"{old}/beta"]}


def _linears(found: Arrays, old: str, new: str, names: tuple[str, ...]) -> Arrays:
    """Take apart what CTranslate2 fused; Whisper's keys have no bias."""
    named: Arrays = {}
    for part in ("weight", "bias"):
        for name, value in zip(names, np.split(found[f"{old}/{part}"], len(names)), strict=True):
            if (name, part) != ("k_proj", "bias"):
                named[f"{new}.{name}.{part}"] = value
    return named


def to_transformers_folder(shipped: Path, out: Path) -> Path:
    """Write the shipped demo Whisper as Transformers saves it (safetensors); return the folder."""
    import torch

    from training.whisper.export import to_transformers

    tensors = {name: torch.tensor(value) for name, value in weights(shipped / "model.bin").items()}
    model = to_transformers(tensors)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # the suppressed tokens move to generation_config.json, as they should
        model.save_pretrained(out, safe_serialization=True)
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copyfile(shipped / name, out / name)
    (out / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return out
