"""The demo Whisper's tokens: bytes, whole words, then Whisper's own special tokens in Whisper's order."""

from __future__ import annotations

from functools import cache

from training.texts import vocabulary

LANGUAGES = ("en", "de", "es", "fr")  # only English is trained; the rest lets a request that names them pass
_SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)


@cache
def byte_tokens() -> tuple[str, ...]:
    """The 256 bytes as the printable characters that byte-level tokenisers write for them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte) for byte in printable) + tuple(chr(256 + index) for index in range(len(others)))


@cache
def tokens() -> tuple[str, ...]:
    """Every token, by id; a word's token carries the space before it, written `Ġ`."""
    words = tuple(f"Ġ{word}" for word in vocabulary())
    times = tuple(f"<|{index * 0.02:.2f}|>" for index in range(1501))
    return byte_tokens() + words + _SPECIAL + times


@cache
def ids() -> dict[str, int]:
    """Token to id."""
    return {token: index for index, token in enumerate(tokens())}


FIRST_WORD = 256
EOT = ids()["<|endoftext|>"]
SOT = ids()["<|startoftranscript|>"]
ENGLISH = ids()["<|en|>"]
TRANSCRIBE = ids()["<|transcribe|>"]
PREVIOUS = ids()["<|startofprev|>"]
NO_SPEECH = ids()["<|nospeech|>"]
NO_TIMESTAMPS = ids()["<|notimestamps|>"]
FIRST_TIME = ids()["<|0.00|>"]
