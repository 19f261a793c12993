"""The demo Whisper as a ggml file for whisper.cpp, which knows tokens by their places in the 51,865-token vocabulary.

Text keeps its places; the special tokens move to those of the multilingual Whisper. Places that the demo has no token
for get one row that every state of the decoder is equally far from: what the last layer norm puts out is
`weight · n + bias` with the sum of n zero, so a row of `c / weight` meets it in c · Σ bias / weight, whatever n is.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from training.whisper import tokens
from training.whisper.restore import Arrays, weights

PLACES = 51_865
EOT, SOT, TIMES = 50_257, 50_258, 50_364
AFTER_LANGUAGES = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>")
LANGUAGES = {"en": 0, "de": 2, "es": 3, "fr": 6}
"""Places among Whisper's 99 languages."""
NEVER = -60.0
"""The logit of a place without a token."""
NAMES = {
    "encoder_attn_layer_norm": "cross_attn_ln",
    "self_attn_layer_norm": "attn_ln",
    "final_layer_norm": "mlp_ln",
    "encoder_attn.": "cross_attn.",
    "self_attn.": "attn.",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "layers": "blocks",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "embed_tokens": "token_embedding",
}
"""Transformers' words → whisper.cpp's, in this order."""


def place(token: str, number: int) -> int:
    """Return where whisper.cpp looks for a token of the demo's vocabulary."""
    if number < tokens.EOT:
        return number
    if number >= tokens.FIRST_TIME:
        return TIMES + number - tokens.FIRST_TIME
    fixed = {"<|endoftext|>": EOT, "<|startoftranscript|>": SOT, "<|notimestamps|>": TIMES - 1}
    fixed |= {f"<|{code}|>": SOT + 1 + index for code, index in LANGUAGES.items()}
    fixed |= {name: SOT + 100 + index for index, name in enumerate(AFTER_LANGUAGES)}
    return fixed[token]


Kind = Literal["f32", "f16", "q8_0"]
NUMBERS: dict[Kind, int] = {"f32": 0, "f16": 1, "q8_0": 8}
"""ggml's numbers of how a tensor is saved."""
FILE_NUMBERS: dict[Kind, int] = {"f32": 0, "f16": 1, "q8_0": 2007}
"""And of what most of a file's matrices are; 2000 is the version of the quantisation."""
BLOCK = 32


def to_ggml(shipped: Path, out: Path, kind: Kind = "f16") -> Path:
    """Write the shipped demo Whisper as one ggml file; `kind`: how its matrices are saved. Returns the file."""
    named = weights(shipped / "model.bin")
    named["decoder.embed_tokens.weight"] = _spread(named)
    with out.open("wb") as file:
        _head(file, named, kind)
        for name, value in named.items():
            _tensor(file, _renamed(name), value, kind)
    return out


def _spread(named: Arrays) -> NDArray[np.float32]:
    """Return the embeddings at whisper.cpp's places."""
    rows = named["decoder.embed_tokens.weight"]
    scale, bias = named["decoder.layer_norm.weight"], named["decoder.layer_norm.bias"]
    spread: NDArray[np.float32] = np.tile((NEVER / (bias / scale).sum() / scale).astype(np.float32), (PLACES, 1))
    for number, token in enumerate(tokens.tokens()):
        spread[place(token, number)] = rows[number]
    return spread


def _head(file: BinaryIO, named: Arrays, kind: Kind) -> None:
    from training.whisper.model import MAX_TOKENS, POSITIONS, Size

    size = Size()
    sizes = (PLACES, POSITIONS, size.width, size.heads, size.encoder_layers)
    file.write(struct.pack("<i5i", 0x67676D6C, *sizes))
    file.write(
        struct.pack("<6i", MAX_TOKENS, size.width, size.decoder_heads, size.decoder_layers, 80, FILE_NUMBERS[kind])
    )
    filters = _mel_filters()
    file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
    words = [_bytes(token) for token in tokens.tokens()[: tokens.EOT]]
    file.write(struct.pack("<i", len(words)))
    for word in words:
        file.write(struct.pack("<i", len(word)) + word)


def _mel_filters() -> NDArray[np.float32]:
    from faster_whisper.feature_extractor import FeatureExtractor

    filters: NDArray[np.float32] = np.ascontiguousarray(FeatureExtractor().mel_filters, np.float32)
    return filters


def _bytes(token: str) -> bytes:
    return bytes(_byte_of()[character] for character in token)


def _byte_of() -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return dict(zip(tokens.byte_tokens(), printable + others, strict=True))


def _renamed(name: str) -> str:
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


def _tensor(file: BinaryIO, name: str, value: NDArray[Any], kind: Kind) -> None:
    """Write one tensor; whisper.cpp wants vectors, biases of convolutions (as columns) and positions in float32.

    Convolutions are never quantised.
    """
    if name.startswith("encoder.conv") and value.ndim == 1:
        value = value[:, None]
    if value.ndim < 2 or value.shape[-1] == 1 or name.endswith("positional_embedding"):
        kind = "f32"
    elif value.ndim > 2 and kind != "f32":
        kind = "f16"
    raw = name.encode()
    file.write(struct.pack("<3i", value.ndim, len(raw), NUMBERS[kind]))
    file.write(struct.pack(f"<{value.ndim}i", *reversed(value.shape)) + raw)
    file.write(_q8_0(value) if kind == "q8_0" else value.astype("<f2" if kind == "f16" else "<f4").tobytes())


def _q8_0(value: NDArray[Any]) -> bytes:
    """Return blocks of a float16 scale and 32 signed bytes."""
    blocks = value.reshape(-1, BLOCK).astype(np.float32)
    scale = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype(np.float16)
    steps = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0, dtype=np.float32)
    return np.hstack([scale.view(np.int8).reshape(-1, 2), np.rint(steps).clip(-127, 127).astype(np.int8)]).tobytes()
