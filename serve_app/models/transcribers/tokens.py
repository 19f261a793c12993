"""Whisper's tokens, as all back ends with a tokenizer of their own use them: the prompt, numerals, a window's text."""

from typing import Any

from serve_app.options import DecodeOptions
from serve_app.quality import compression_ratio
from serve_app.stages import WindowText

NUMERALS = frozenset("0123456789%$£")
"""What `suppress_numerals` never lets be written; whisperx's `find_numeral_symbol_tokens`."""


def whisper_tokenizer(hf_tokenizer: Any, multilingual: bool, language: str, task: str) -> Any:
    """Return faster-whisper's tokenizer over a `tokenizers.Tokenizer`; needs no torch."""
    from faster_whisper.tokenizer import Tokenizer

    return Tokenizer(hf_tokenizer, multilingual, task=task, language=language)


def prompt_tokens(tokenizer: Any, options: DecodeOptions, max_length: int) -> list[int]:
    """Return hotwords, the end of the prompt, and the start of the transcript: at most half of what fits."""
    room = max_length // 2 - 1
    hotwords = tokenizer.encode(" " + options.hotwords.strip())[:room] if options.hotwords else []
    previous = tokenizer.encode(" " + options.initial_prompt.strip()) if options.initial_prompt else []
    room -= len(hotwords)
    before = [*hotwords, *(previous[-room:] if room > 0 else [])]
    context = [tokenizer.sot_prev, *before] if before else []
    return [*context, *tokenizer.sot_sequence, tokenizer.no_timestamps]


def numeral_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Return the text tokens that write a numeral."""
    return tuple(token for token in range(tokenizer.eot) if NUMERALS & set(tokenizer.decode([token])))


def window_text(
    tokenizer: Any, made: list[int], language: str, temperature: float, avg_logprob: float, no_speech_prob: float
) -> WindowText:
    """Return what a window's tokens say, special ones left out, with the figures that all back ends give."""
    tokens = [token for token in made if token < tokenizer.eot]
    text = tokenizer.decode(tokens)
    return WindowText(
        text=text,
        language=language,
        tokens=tuple(tokens),
        token_ends=tuple(len(tokenizer.decode(tokens[: i + 1])) for i in range(len(tokens))),
        temperature=temperature,
        avg_logprob=avg_logprob,
        compression_ratio=compression_ratio(text),
        no_speech_prob=no_speech_prob,
    )
