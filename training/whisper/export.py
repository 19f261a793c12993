"""Write the demo Whisper in CTranslate2's format with 8-bit weights, as faster-whisper and whisperx load it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from training.whisper import tokens
from training.whisper.losses import NEXT_HEADS
from training.whisper.model import Size

PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16_000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
}


def export(checkpoint: Path, out: Path) -> None:
    """Write `out` anew from a training checkpoint: its averaged weights."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    weights = torch.load(checkpoint)["average"]
    with tempfile.TemporaryDirectory(dir=out.parent if out.parent.exists() else None) as temporary:
        folder = Path(temporary) / out.name
        _convert(to_transformers(weights), folder)
        _write_json(folder / "tokenizer.json", tokenizer())
        _write_json(folder / "preprocessor_config.json", PREPROCESSOR)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder, out)


def to_transformers(weights: dict[str, torch.Tensor]) -> WhisperForConditionalGeneration:
    """The model in Transformers' class, ready for CTranslate2's converter."""
    model = WhisperForConditionalGeneration(_config(Size(vocabulary=len(tokens.tokens()))))
    model.model.load_state_dict(weights)
    model.tie_weights()
    model.generation_config = _generation_config(model.config.decoder_layers)
    return model


def _config(size: Size) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=size.vocabulary,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        encoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_layers=size.decoder_layers,
        decoder_attention_heads=size.decoder_heads,
        decoder_ffn_dim=4 * size.width,
        decoder_start_token_id=tokens.SOT,
        bos_token_id=tokens.EOT,
        eos_token_id=tokens.EOT,
        pad_token_id=tokens.EOT,
        begin_suppress_tokens=[],
        suppress_tokens=[],
    )


def _generation_config(layers: int) -> GenerationConfig:
    """No-speech may be said: it is the answer where there is none; only guided heads tell word times."""
    ids = tokens.ids()
    unused = ("<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>")
    return GenerationConfig(
        suppress_tokens=[ids[token] for token in unused],
        begin_suppress_tokens=[],
        lang_to_id={f"<|{language}|>": ids[f"<|{language}|>"] for language in tokens.LANGUAGES},
        alignment_heads=[[layers - 1, head] for head in range(NEXT_HEADS)],
    )


def _convert(model: WhisperForConditionalGeneration, out: Path) -> None:
    """CTranslate2's files. A model counts as multilingual only if its vocabulary holds the empty string."""
    from ctranslate2.converters.transformers import WhisperLoader

    loader = WhisperLoader()
    with torch.no_grad():
        spec = loader.get_model_spec(model)
    loader.set_config(spec.config, model, None)
    spec.register_vocabulary(["" if token == _UNUSED else token for token in tokens.tokens()])
    spec.validate()
    spec.optimize(quantization="int8")
    out.mkdir(parents=True)
    spec.save(str(out))


_UNUSED = "Ā"  # byte 0, which no text holds


def tokenizer() -> dict[str, object]:
    """tokenizer.json: words are looked up whole, everything else is spelt in bytes."""
    text = tokens.tokens()[: tokens.EOT]
    special = tokens.tokens()[tokens.EOT :]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(tokens.EOT + index, token) for index, token in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": _byte_pairs(text),
    }


def _added(index: int, token: str) -> dict[str, object]:
    """A special token; times are not special, as in OpenAI's own tokenizer.json."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": token, **flags, "special": index < tokens.FIRST_TIME}


def _byte_pairs(text: tuple[str, ...]) -> dict[str, object]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": {token: index for index, token in enumerate(text)},
        "merges": [],
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
