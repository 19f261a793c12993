"""Transcribe one file in this process, as the `whisper` command did: no server, no Ray.

    python -m serve_app.transcribe - --model tiny --language en --clip_timestamps 0,30 < speech.flac

The model is a snapshot's name, one of Whisper's own names, or a path to a model's files. JSON goes to stdout, and what
went wrong to stderr with exit code 2.
"""

import asyncio
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer
from pydantic import TypeAdapter

from serve_app.config import StoreArgs, TranscriptionArgs, VadArgs
from serve_app.errors import RayscribeError
from serve_app.models.transcribers.interface import Transcriber
from serve_app.options import DecodeOptions, RequestOptions, schedule
from serve_app.transcript import Transcript
from serve_app.wire.formats import FORMATS, PLAIN

BATCH = 8
"""Windows decoded together: measuring what suits this machine would take longer than most files."""
WRITTEN = {"json": "whisper_json", "txt": "text", "srt": "srt", "vtt": "vtt", "tsv": "tsv"}
"""openai-whisper's names of formats → ours."""


def main(
    audio: Annotated[str, typer.Argument(help="a file that FFmpeg reads; -: stdin")],
    model: Annotated[str, typer.Option(help="a snapshot, a Whisper name such as tiny, or a path")],
    language: Annotated[str | None, typer.Option(help="none: detected")] = None,
    task: Annotated[Literal["transcribe", "translate"], typer.Option()] = "transcribe",
    initial_prompt: Annotated[str | None, typer.Option("--initial_prompt")] = None,
    hotwords: Annotated[str | None, typer.Option()] = None,
    clip_timestamps: Annotated[str | None, typer.Option("--clip_timestamps", help="start,end,start … in s")] = None,
    temperature: Annotated[str, typer.Option(help="0 to 1; several, with commas: tried in turn")] = "0",
    logprob_threshold: Annotated[float, typer.Option("--logprob_threshold")] = -1.0,
    compression_ratio_threshold: Annotated[float, typer.Option("--compression_ratio_threshold")] = 2.4,
    no_speech_threshold: Annotated[float, typer.Option("--no_speech_threshold")] = 0.6,
    beam_size: Annotated[int, typer.Option("--beam_size")] = 5,
    suppress_numerals: Annotated[bool, typer.Option("--suppress_numerals")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto")] = "auto",
    backend: Annotated[str | None, typer.Option(help="none: RAYSCRIBE_BACKEND, else faster-whisper")] = None,
    compute_type: Annotated[str, typer.Option("--compute_type")] = "default",
    threads: Annotated[int, typer.Option(min=0, help="0: all cores")] = 0,
    output_format: Annotated[Literal["json", "txt", "srt", "vtt", "tsv"], typer.Option("--output_format")] = "json",
) -> None:
    """Transcribe one file and write it to stdout."""
    from model_store import ModelStoreError

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    asked: dict[str, Any] = {"device": device, "compute_type": compute_type, "threads": threads, "beam_size": beam_size}
    decode = DecodeOptions(
        language, task, initial_prompt, hotwords, suppress_numerals=suppress_numerals,
        logprob_threshold=logprob_threshold, compression_ratio_threshold=compression_ratio_threshold,
        no_speech_threshold=no_speech_threshold,
    )  # fmt: skip
    try:
        options = _options(decode, temperature, clip_timestamps)
        transcript = asyncio.run(transcribe(_opened(audio), load(model, backend, asked), options))
    except (RayscribeError, ModelStoreError, ValueError, OSError) as error:
        typer.echo(f"error: {_said(error)}", err=True)
        raise typer.Exit(2) from None
    _write(FORMATS[WRITTEN[output_format]](transcript, PLAIN))


def load(model: str, backend: str | None, asked: dict[str, Any]) -> Transcriber:
    """Load a transcriber from a path, or from the store as `RAYSCRIBE_STORE` and `RAYSCRIBE_CACHE` say."""
    from serve_app import heap
    from serve_app.models.environment import go_offline
    from serve_app.models.transcribers import registry
    from serve_app.models.transcribers.building import build
    from serve_app.models.transcribers.names import resolve_name

    heap.keep()
    go_offline()
    named = {"backend": backend} if backend else {}
    args = TranscriptionArgs.model_validate({"model": model, "batch_size": BATCH, **asked, **named})
    threads = args.threads or _cores()
    if Path(model).is_dir():
        return registry.backend(args.backend)(Path(model), args, (), threads)
    from model_store import NodeCache, fetch, open_store

    store = StoreArgs().resolved()
    snapshot = fetch(resolve_name(model, args.backend), open_store(store.url), NodeCache(store.cache))
    return build(snapshot, args, threads, store.cache)


async def transcribe(upload: bytes | BinaryIO | Path, model: Transcriber, options: RequestOptions) -> Transcript:
    """Decode a file, find its speech and transcribe it window by window, as a preset does."""
    from serve_app.listening import Listener, speech_settings
    from serve_app.local_stages import LocalStages
    from serve_app.models.audio import decode, pieces, stated_length
    from serve_app.models.vad import SpeechFinder
    from serve_app.pipeline import PresetPipeline

    vad = VadArgs()
    finder = SpeechFinder(vad)
    listener = Listener(
        lambda file, asked: pieces(file, float("inf"), asked.clips),
        lambda asked: finder.stream(speech_settings(vad, asked.speech)),
        stated_length,
    )
    return await PresetPipeline(LocalStages(model), listener.listen, decode).run(upload, options)


def _options(decode: DecodeOptions, temperature: str, clips_text: str | None) -> RequestOptions:
    """Return the options with what is still text; raises for what cannot be read."""
    from serve_app.wire.form_values import Temperatures, clips

    tried = schedule(*TypeAdapter(Temperatures).validate_python(temperature))
    return RequestOptions(replace(decode, temperatures=tried), align=False, clips=clips(clips_text))


def _opened(audio: str) -> bytes | Path:
    return sys.stdin.buffer.read() if audio == "-" else Path(audio)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _said(error: Exception) -> str:
    """Return the message; of pydantic's, the first one's own words."""
    from pydantic import ValidationError

    return error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)


def _write(body: dict[str, Any] | str) -> None:
    sys.stdout.write(body if isinstance(body, str) else json.dumps(body, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
