"""OpenAI's audio contract, row by row, as its SDK sees it: what is asked, and what must hold of the answer."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from tests.conftest import ROOT

CLIP = ROOT / "tests" / "data" / "one_sentence.flac"
Ask = Callable[..., Any]
"""Calls a method of the SDK by its path, and returns what it returns; of a stream, the list of its events."""


@dataclass(frozen=True)
class Row:
    """A row of the contract: what it is about, the call, and a check of its answer; `note` is for the reader."""

    endpoint: str
    what: str
    call: str
    options: dict[str, Any] = field(default_factory=dict)
    check: Callable[[Any], bool] = bool
    refused: type[openai.APIStatusError] | None = None
    note: str = ""


def _row(what: str, check: Callable[[Any], bool], note: str = "", file: Path = CLIP, **options: Any) -> Row:
    asked = {"model": "fast", "file": file, **options}
    return Row("transcriptions", what, "audio.transcriptions.create", asked, check, note=note)


def _refused(what: str, error: type[openai.APIStatusError], param: str, note: str, **options: Any) -> Row:
    asked = {"model": "fast", "file": CLIP, **options}
    check = lambda caught: caught.param == param and bool(caught.code)  # noqa: E731 - one of many
    return Row("transcriptions", what, "audio.transcriptions.create", asked, check, error, note)


def _translation(what: str, check: Callable[[Any], bool], **options: Any) -> Row:
    asked = {"model": "fast", "file": CLIP, **options}
    note = "the demo model hears English only"
    return Row("translations", what, "audio.translations.create", asked, check, note=note)


def _text(answer: Any) -> bool:
    return isinstance(answer, str) and len(answer.split()) >= 4


def _said(answer: Any) -> bool:
    return len(answer.text.split()) >= 4


def _streamed(events: list[Any]) -> bool:
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    done = events[-1]
    return bool(done.type == "transcript.text.done" and done.text == deltas and done.usage.total_tokens > 0)


def _words(answer: Any) -> bool:
    return all(0 <= word.start <= word.end <= answer.duration for word in answer.words) and answer.segments is None


def _segments(answer: Any) -> bool:
    return all(each.tokens and each.avg_logprob < 0 < each.compression_ratio for each in answer.segments)


def _one_speaker(answer: Any) -> bool:
    return {each.speaker for each in answer.segments} == {"A"}


def _logprobs(answer: Any) -> bool:
    text = bytes(int(byte) for token in answer.logprobs for byte in token.bytes).decode()
    return text.strip() == answer.text and all(token.logprob <= 0 for token in answer.logprobs)


def _named(answer: Any) -> bool:
    return {each.speaker for each in answer.segments} == {"Ann"}


def _data_url(file: Path) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(file.read_bytes()).decode()}"


VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 200, "silence_duration_ms": 200}
DIARIZED = {"model": "high", "response_format": "diarized_json"}
WHOLE = {"response_format": "verbose_json"}

ROWS = [
    *(
        _row(f"model `{name}`", _said, "an alias of the configuration", model=name)
        for name in ("whisper-1", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
    ),
    _row("model: a preset", _said),
    _refused("model: unknown", openai.NotFoundError, "model", "404, names the nearest preset", model="fats"),
    _row("file: path", _said),
    _row("file: bytes with a name", _said, file=("a.flac", CLIP.read_bytes())),
    _refused("file: empty", openai.BadRequestError, "file", "400", file=("a.wav", b"")),
    _refused("file: no audio", openai.BadRequestError, "file", "400", file=("a.wav", b"not a sound" * 99)),
    _row("language", lambda answer: answer.language == "en", language="en", **WHOLE),
    _refused("language: not the model's", openai.BadRequestError, "language", "400, names those known", language="de"),
    _row("languages", lambda answer: answer.languages[0].code == "en", languages=["en", "de"]),
    _row("prompt", _said, prompt="Some people talk."),
    _row("keywords", _said, keywords=["light", "house"]),
    _row("temperature 0: raised automatically", _said, temperature=0),
    _row("temperature 0.4: sampled", _said, temperature=0.4),
    _refused("temperature out of bounds", openai.BadRequestError, "temperature", "400", temperature=1.5),
    _row("response_format `json`", lambda answer: _said(answer) and answer.usage.seconds > 0),
    *(_row(f"response_format `{name}`", _text, response_format=name) for name in ("text", "srt", "vtt")),
    _row("response_format `verbose_json`", lambda answer: _said(answer) and answer.duration > 1, **WHOLE),
    _row("response_format `diarized_json`", _one_speaker, **DIARIZED),
    _refused(
        "`diarized_json` of a preset without diarization",
        *(openai.BadRequestError, "model", "400, says which presets have it"),
        response_format="diarized_json",
    ),
    _row("timestamp_granularities `word`", _words, timestamp_granularities=["word"], **WHOLE),
    _row("timestamp_granularities `segment`", _segments, timestamp_granularities=["segment"], **WHOLE),
    _row(
        "timestamp_granularities both",
        lambda answer: _segments(answer) and bool(answer.words),
        timestamp_granularities=["word", "segment"],
        **WHOLE,
    ),
    _refused(
        "timestamp_granularities of another format",
        *(openai.BadRequestError, "timestamp_granularities", "400, as OpenAI"),
        timestamp_granularities=["word"],
    ),
    _row("include `logprobs`", _logprobs, include=["logprobs"]),
    _refused("include of another format", openai.BadRequestError, "include", "400", include=["logprobs"], **WHOLE),
    _row("stream, json", _streamed, stream=True),
    _row("stream, text", _streamed, stream=True, response_format="text"),
    _row(
        "stream, diarized_json",
        lambda events: _streamed(events) and any(event.type == "transcript.text.segment" for event in events),
        stream=True,
        **DIARIZED,
    ),
    _row("stream with logprobs", lambda events: bool(events[-1].logprobs), stream=True, include=["logprobs"]),
    _refused(
        "stream, verbose_json",
        *(openai.BadRequestError, "stream", "400: it cannot come bit by bit; OpenAI ignores `stream` there"),
        stream=True,
        **WHOLE,
    ),
    _row("chunking_strategy `auto`", _said, chunking_strategy="auto"),
    _row("chunking_strategy `server_vad`", _said, chunking_strategy=VAD),
    _row(
        "known_speaker_names, known_speaker_references",
        *(_named, "strangers stay A, B, …"),
        known_speaker_names=["Ann"],
        known_speaker_references=[_data_url(CLIP)],
        **DIARIZED,
    ),
    Row("translations", "without a file", "audio.translations.create", {"model": "fast", "file": ("a", b"")},
        lambda caught: caught.param == "file", openai.BadRequestError, "400"),
    _translation("response_format `json`", _said),
    *(_translation(f"response_format `{name}`", _text, response_format=name) for name in ("text", "srt", "vtt")),
    _translation(
        "response_format `verbose_json`",
        lambda answer: answer.language == "english" and _segments(answer),
        **WHOLE,
    ),
    _translation("prompt, temperature", _said, prompt="Some people talk.", temperature=0.2),
    Row("models", "list", "models.list", {}, lambda page: {"fast", "high"} <= {model.id for model in page.data}),
    Row("models", "retrieve", "models.retrieve", {"model": "fast"}, lambda model: model.id == "fast"),
    Row("models", "retrieve: unknown", "models.retrieve", {"model": "fats"}, lambda caught: caught.param == "model",
        openai.NotFoundError, "404"),
]  # fmt: skip
