"""A request's options as whisper.cpp's parameters; what it does not have is refused by name."""

import re
from collections.abc import Callable
from typing import Any

from serve_app.errors import UnsupportedOption
from serve_app.options import DecodeOptions

MOST_DECODERS = 8
"""whisper.cpp's WHISPER_MAX_DECODERS: it holds no wider beam and no more samples."""
ANY = r"[\s\S]*"
NUMERALS = f"{ANY}([0-9%$]|£){ANY}"
REFUSED = {
    "patience": "raise beam_size instead",
    "length_penalty": "whisper.cpp divides by the length, as 1 does",
    "repetition_penalty": "leave it out: texts that repeat themselves are decoded again anyway",
    "no_repeat_ngram_size": "leave it out: texts that repeat themselves are decoded again anyway",
}
"""Options that must be at their default → how to do without."""


def refuse_unknown(options: DecodeOptions) -> None:
    """Raise `UnsupportedOption` for what whisper.cpp cannot do."""
    usual = DecodeOptions()
    for name, mend in REFUSED.items():
        if getattr(options, name) != getattr(usual, name):
            raise UnsupportedOption(f"backend whisper-cpp has no {name}; {mend}", name)
    for name in ("beam_size", "best_of"):
        if (getattr(options, name) or 1) > MOST_DECODERS:
            raise UnsupportedOption(f"backend whisper-cpp takes a {name} of at most {MOST_DECODERS}", name)


def params_for(whisper: Any, options: DecodeOptions, temperature: float, beam_size: int) -> Any:
    """Return parameters for one window: one temperature, no time stamps, and no gate but that of silence."""
    wide = beam_size > 1 and temperature == 0
    kinds = whisper.whisper_sampling_strategy
    params = whisper.whisper_full_default_params(
        kinds.WHISPER_SAMPLING_BEAM_SEARCH if wide else kinds.WHISPER_SAMPLING_GREEDY
    )
    params.greedy = {"best_of": options.best_of}
    params.beam_search = {"beam_size": beam_size, "patience": -1.0}
    params.temperature, params.temperature_inc = temperature, 0.0
    params.translate = options.task == "translate"
    params.suppress_blank, params.suppress_nst = options.suppress_blank, -1 in options.suppress_tokens
    params.no_timestamps = params.no_context = params.single_segment = True
    params.print_progress = params.print_realtime = params.print_timestamps = params.print_special = False
    params.entropy_thold = 0.0  # never failed: texts that repeat themselves are judged afterwards
    _silence(params, options)
    if context := " ".join(part.strip() for part in (options.hotwords, options.initial_prompt) if part):
        params.initial_prompt = f" {context}"
    return params


def _silence(params: Any, options: DecodeOptions) -> None:
    """Set whisper.cpp's own gate: it drops a text that is both likely no speech and unlikely as a text."""
    never, always = 2.0, 1e9
    params.no_speech_thold = never if options.no_speech_threshold is None else options.no_speech_threshold
    params.logprob_thold = always if options.logprob_threshold is None else options.logprob_threshold


def suppressed(options: DecodeOptions, bytes_of: Callable[[int], bytes]) -> str | None:
    """Return the pattern of the tokens that are never written; None for none.

    whisper.cpp matches every token of its vocabulary anew at each step, so this slows it down several times.
    """
    parts = [NUMERALS] if options.suppress_numerals else []
    parts += [_literal(token, bytes_of(token)) for token in options.suppress_tokens if token >= 0]
    return "|".join(parts) or None


def _literal(token: int, data: bytes) -> str:
    try:
        return re.escape(data.decode())
    except UnicodeDecodeError:
        message = f"backend whisper-cpp cannot suppress token {token}, which is a part of a character; leave it out"
        raise UnsupportedOption(message, "suppress_tokens") from None
