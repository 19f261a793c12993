"""Whisper and wav2vec2 in their real sizes with random weights; each made once, in a process of its own.

python -m benchmarks.store.whisper_files KIND FOLDER
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.store.children import ROOT
from benchmarks.store.models import read_json

# Radford et al. 2022, table 1; large-v3 as in its model card.
SHAPES = {
    "tiny": (384, 4, 6),
    "base": (512, 6, 8),
    "small": (768, 12, 12),
    "medium": (1024, 24, 16),
    "large-v3": (1280, 32, 20),
}
STORED = ("float16", "int8")
WAV2VEC2 = "wav2vec2-base"
DEMO = ROOT / "demo" / "models" / "whisper"
END, PROMPT, TOKENS = "<|endoftext|>", 4, 10
"""Of each window: those of some seconds of speech, where random weights alone would write on to the end."""


def whisper(folder: Path, size: str, stored: str) -> Path:
    """The CTranslate2 directory of a size, saved as `stored`."""
    return _made(folder, size) / stored


def wav2vec2(folder: Path, form: str) -> Path:
    """The Transformers directory of wav2vec2-base; `form`: safetensors or bin."""
    return _made(folder, WAV2VEC2) / form


def _made(folder: Path, kind: str) -> Path:
    target = folder / kind
    if not target.is_dir():
        staged = folder / f".{kind}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        command = [sys.executable, "-m", "benchmarks.store.whisper_files", kind, str(staged)]
        subprocess.run(command, check=True, cwd=ROOT, stderr=subprocess.DEVNULL)
        staged.rename(target)
    return target


def _random(made: Any, dtype: Any) -> Any:
    """A model made on torch's meta device, with memory and random weights: half the memory of a usual start."""
    made = made.to(dtype).to_empty(device="cpu")
    for parameter in made.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    made.tie_weights()
    return made.eval()


def _end_at(decoder: Any, last: int) -> None:
    """Have the positions from the last token's on speak for the token of the end, those before as strongly against."""
    from tokenizers import Tokenizer

    decoder.layer_norm.weight.data.fill_(1)
    decoder.layer_norm.bias.data.fill_(0)
    end = decoder.embed_tokens.weight.data[Tokenizer.from_file(str(DEMO / "tokenizer.json")).token_to_id(END)]
    end *= 10
    positions = decoder.embed_positions.weight.data
    positions[:last], positions[last:] = -5 * end, 5 * end


def _make_whisper(size: str, target: Path) -> None:
    import torch
    from ctranslate2.converters import TransformersConverter
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    width, layers, heads = SHAPES[size]
    latest = size == "large-v3"
    config = WhisperConfig(
        d_model=width, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=heads,
        decoder_attention_heads=heads, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
        num_mel_bins=128 if latest else 80, vocab_size=51866 if latest else 51865, dtype="float16",
    )  # fmt: skip
    with torch.device("meta"):
        empty = WhisperForConditionalGeneration(config)
    made = _random(empty, torch.float16)
    _end_at(made.model.decoder, PROMPT + TOKENS - 1)
    made.generation_config.update(suppress_tokens=[], begin_suppress_tokens=[], lang_to_id={})

    class Converter(TransformersConverter):  # type: ignore[misc]
        """Takes the model from memory: a checkpoint of 3 GB would only be written to be read again."""

        def load_model(self, *args: Any, **kwargs: Any) -> Any:
            return made

        def load_tokenizer(self, *args: Any, **kwargs: Any) -> Any:
            return PreTrainedTokenizerFast(tokenizer_file=str(DEMO / "tokenizer.json"))

    config.save_pretrained(target / "source")
    for stored in STORED:
        Converter(str(target / "source")).convert(str(target / stored), quantization=stored)
        preprocessor = {**read_json(DEMO / "preprocessor_config.json"), "feature_size": config.num_mel_bins}
        (target / stored / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        shutil.copyfile(DEMO / "tokenizer.json", target / stored / "tokenizer.json")


def _make_wav2vec2(target: Path) -> None:
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    made = Wav2Vec2ForCTC(Wav2Vec2Config())
    made.save_pretrained(target / "safetensors")
    made.config.save_pretrained(target / "bin")
    torch.save(made.state_dict(), target / "bin" / "pytorch_model.bin")


def main(kind: str, folder: str) -> None:
    """Make one kind in a folder."""
    target = Path(folder)
    _make_wav2vec2(target) if kind == WAV2VEC2 else _make_whisper(kind, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
