"""The files of the demo aligner, as `whisperx.load_align_model` reads them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Wav2Vec2ForCTC

from training.aligner_model import VOCABULARY
from training.speech import SAMPLE_RATE

ABBREVIATIONS = (
    "mr",
    "mrs",
    "ms",
    "dr",
    "prof",
    "st",
    "vs",
    "etc",
    "e.g",
    "i.e",
    "u.s",
    "jr",
    "sr",
    "inc",
    "ltd",
    "co",
)
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def save_aligner(model: Wav2Vec2ForCTC, folder: Path) -> None:
    """Write the network (float16), its tokenizer and the sentence splitter's data."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    _use_float32(folder / "config.json")
    _write_json(folder / "vocab.json", VOCABULARY)
    _write_json(folder / "special_tokens_map.json", SPECIAL_TOKENS)
    _write_json(folder / "tokenizer_config.json", _tokenizer())
    _write_json(folder / "preprocessor_config.json", _preprocessor())
    write_punkt(folder / "nltk_data")


def write_punkt(folder: Path) -> None:
    """What nltk needs to split English text into sentences: some abbreviations, and nothing learned."""
    english = folder / "tokenizers" / "punkt_tab" / "english"
    english.mkdir(parents=True, exist_ok=True)
    (english / "abbrev_types.txt").write_text("\n".join(ABBREVIATIONS) + "\n")
    for name in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
        (english / name).write_text("")


def _use_float32(config: Path) -> None:
    """Half precision is for the disk only: let loaders that heed the config compute in float32."""
    _write_json(config, json.loads(config.read_text()) | {"dtype": "float32"})


def _tokenizer() -> dict[str, object]:
    return SPECIAL_TOKENS | {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "word_delimiter_token": "|",
        "replace_word_delimiter_char": " ",
        "do_lower_case": True,
        "clean_up_tokenization_spaces": False,
    }


def _preprocessor() -> dict[str, object]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "processor_class": "Wav2Vec2Processor",
        "sampling_rate": SAMPLE_RATE,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": False,
        "return_attention_mask": False,
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
