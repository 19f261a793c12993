"""A Transcript as the client asked for it: `response_format` → the function that writes it."""

from collections.abc import Callable
from typing import Any

from serve_app.transcript import Transcript
from serve_app.wire.formats.layout import PLAIN, Layout
from serve_app.wire.formats.openai import (
    diarized_segments,
    heard_languages,
    speaker_embeddings,
    to_diarized_json,
    to_json,
    to_text,
    to_verbose_json,
    token_logprobs,
    warnings,
)
from serve_app.wire.formats.records import to_ctm, to_rttm, to_tsv
from serve_app.wire.formats.subtitles import to_srt, to_vtt
from serve_app.wire.formats.whisper import to_whisper_json

Body = dict[str, Any] | str
"""A JSON object, or plain text."""

FORMATS: dict[str, Callable[[Transcript, Layout], Body]] = {
    "json": to_json,
    "text": to_text,
    "srt": to_srt,
    "vtt": to_vtt,
    "verbose_json": to_verbose_json,
    "diarized_json": to_diarized_json,
    "tsv": to_tsv,
    "ctm": to_ctm,
    "rttm": to_rttm,
    "whisper_json": to_whisper_json,
}

__all__ = [
    "FORMATS",
    "PLAIN",
    "Body",
    "Layout",
    "diarized_segments",
    "heard_languages",
    "speaker_embeddings",
    "token_logprobs",
    "warnings",
]
