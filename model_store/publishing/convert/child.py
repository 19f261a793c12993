"""The conversions themselves, run by `python -m model_store.convert.child ORDER` with nothing but files at hand."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from model_store.publishing.convert.recipes import SAFE_WEIGHTS, SAYS, WEIGHTS


class Unsuitable(Exception):
    """The input is not what the conversion takes."""


def to_whisper(inputs: Path, outputs: Path, compute_type: str) -> None:
    """Transformers' Whisper as faster-whisper reads it: CTranslate2's files, tokenizer.json, preprocessor_config.json.

    Raises Unsuitable.
    """
    # Without its number of mel bands, faster-whisper would guess, and be wrong for large-v3.
    for needed in ("config.json", "preprocessor_config.json"):
        if not (inputs / needed).is_file():
            raise Unsuitable(f"{needed} is missing")
    if json.loads((inputs / "config.json").read_text("utf-8")).get("model_type") != "whisper":
        raise Unsuitable("config.json is not of a Whisper model")
    if not any(inputs.glob("*.safetensors")) and not any(inputs.glob("pytorch_model*.bin")):
        raise Unsuitable("there are no weights: neither *.safetensors nor pytorch_model.bin")
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(inputs)).convert(str(outputs), quantization=compute_type)
    shutil.copyfile(inputs / "preprocessor_config.json", outputs / "preprocessor_config.json")
    _tokenizer(inputs, outputs / "tokenizer.json")


def _tokenizer(inputs: Path, target: Path) -> None:
    """tokenizer.json as it is, or made from the vocabulary and merges of older repositories."""
    if (inputs / "tokenizer.json").is_file():
        shutil.copyfile(inputs / "tokenizer.json", target)
        return
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(inputs), use_fast=True).backend_tokenizer.save(str(target))


def to_safetensors(inputs: Path, outputs: Path) -> None:
    """Each pytorch_model.bin as a model.safetensors beside it, number for number; raises Unsuitable."""
    if any(inputs.rglob("pytorch_model-*-of-*.bin")):
        raise Unsuitable("the weights are in several files, which this conversion does not read")
    pickles = sorted(inputs.rglob(WEIGHTS))
    if not pickles and not any(inputs.rglob("*.safetensors")):
        raise Unsuitable(f"there is no {WEIGHTS}")
    for pickled in pickles:
        target = outputs / pickled.relative_to(inputs).with_name(SAFE_WEIGHTS)
        if not pickled.with_name(SAFE_WEIGHTS).exists():  # the maker's own are better than ours
            target.parent.mkdir(parents=True, exist_ok=True)
            _save(_load(pickled), target)


def _load(pickled: Path) -> dict[str, Any]:
    """The tensors by name, each with memory of its own; a pickle that holds code is refused, not run."""
    import torch

    found = torch.load(pickled, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise Unsuitable(f"{pickled.name} holds other things than tensors")
    return {str(name): tensor.detach().clone().contiguous() for name, tensor in found.items()}


def _save(tensors: dict[str, Any], target: Path) -> None:
    """Write, read again, and compare every bit."""
    import torch
    from safetensors.torch import load_file, save_file

    save_file(tensors, target, metadata={"format": "pt"})
    back = load_file(target)
    same = back.keys() == tensors.keys() and all(
        (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        and torch.equal(back[name].reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8))
        for name, tensor in tensors.items()
    )
    if not same:
        raise Unsuitable(f"{target.name} does not hold the same numbers")


def main(order: dict[str, str]) -> None:
    """Carry out an order and leave files of mode 0644 in its `out`."""
    inputs, outputs = Path(order["in"]), Path(order["out"])
    if order["to"] == "whisper-ct2":
        to_whisper(inputs, outputs, order["compute_type"])
    else:
        outputs.mkdir()
        to_safetensors(inputs, outputs)
    for path in outputs.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _say(error: Exception) -> None:
    """The reason as the parent looks for it; of other people's errors also the kind."""
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    kind = "" if isinstance(error, Unsuitable) else f"{type(error).__name__}: "
    print(f"{SAYS}{kind}{first}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - whatever the libraries raise is the reason that the parent passes on
        _say(error)
        sys.exit(1)
