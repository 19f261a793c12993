"""The Serve deployments as plain classes: thin wrappers that load a model and pass work on; `app.py` decorates them."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from typing import Any

from serve_app.api import create_api
from serve_app.batching import Batcher
from serve_app.config import AlignmentArgs, DiarizationArgs, GatewayArgs, PresetArgs, StoreArgs, TranscriptionArgs
from serve_app.handles import RayPresets, RayStages
from serve_app.loading import load, threads_for
from serve_app.options import DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.pipeline import PresetPipeline
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, SpeakerTurn, Transcript
from serve_app.windows import Window


def load_transcriber(args: TranscriptionArgs, store: StoreArgs) -> Any:
    """Load the Whisper snapshot of a transcription stage."""
    from serve_app.models.transcriber import Transcriber

    threads = threads_for(args.threads)
    return load(
        args.model,
        store,
        lambda: import_module("faster_whisper"),
        lambda snapshot: Transcriber(snapshot.path, args, snapshot.manifest.languages, threads),
    )


def load_aligner(args: AlignmentArgs, store: StoreArgs, language: str) -> Any:
    """Load the aligner of one language."""
    from serve_app.models.aligner import Aligner
    from serve_app.models.environment import go_offline, import_without

    go_offline()
    threads = threads_for(args.threads)
    return load(
        args.models[language],
        store,
        lambda: import_without("whisperx.alignment", ("sklearn", "torchvision")),
        lambda snapshot: Aligner(snapshot.path, args, language, threads),
    )


def load_diarizer(args: DiarizationArgs, store: StoreArgs) -> Any:
    """Load the pyannote pipeline of a diarization stage."""
    from serve_app.models.diarizer import Diarizer
    from serve_app.models.environment import go_offline

    go_offline()
    threads = threads_for(args.threads)
    name = args.model or ""
    return load(
        name, store, lambda: import_module("pyannote.audio"), lambda snapshot: Diarizer(snapshot.path, args, threads)
    )


class Transcription:
    """Decodes windows of all requests, batched by equal options."""

    def __init__(
        self,
        args: TranscriptionArgs,
        store: StoreArgs,
        load_model: Callable[[TranscriptionArgs, StoreArgs], Any] = load_transcriber,
    ) -> None:
        self._model = load_model(args, store)
        self._batcher: Batcher[Audio, WindowText] = Batcher(self._decode, args.largest_batch)

    def _decode(self, options: Hashable, clips: Sequence[Audio]) -> list[WindowText]:
        texts: list[WindowText] = self._model.transcribe(clips, options)
        return texts

    async def wake(self) -> None:
        """Answer once the model is loaded."""

    async def transcribe(self, audio: Audio, window: Window, options: DecodeOptions) -> WindowText:
        """Decode one window of a file whose audio lies in the object store."""
        timed = await self._batcher.submit(options, audio[window.start : window.stop])
        return replace(timed.result, queue_s=timed.queue_s, model_s=timed.model_s)


class Alignment:
    """Places words in time; the first language's model is loaded on init, the others when they are first asked for."""

    def __init__(
        self,
        args: AlignmentArgs,
        store: StoreArgs,
        load_model: Callable[[AlignmentArgs, StoreArgs, str], Any] = load_aligner,
    ) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._args, self._store, self._load_model = args, store, load_model
        first = next(iter(args.models))
        self._aligners = {first: load_model(args, store, first)}

    async def wake(self) -> None:
        """Answer once the first model is loaded."""

    async def align(self, audio: Audio, window: Window, text: WindowText) -> list[Segment] | None:
        """Place one window's words; None when no snapshot is configured for the language."""
        if text.language not in self._args.models:
            return None
        clip = audio[window.start : window.stop]
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._align, clip, window, text)

    def _align(self, clip: Audio, window: Window, text: WindowText) -> list[Segment]:
        if text.language not in self._aligners:
            self._aligners[text.language] = self._load_model(self._args, self._store, text.language)
        segments: list[Segment] = self._aligners[text.language].align(clip, window, text)
        return segments


class Diarization:
    """Finds speaker turns in whole files, one file at a time."""

    def __init__(
        self,
        args: DiarizationArgs,
        store: StoreArgs,
        load_model: Callable[[DiarizationArgs, StoreArgs], Any] = load_diarizer,
    ) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._model = load_model(args, store)

    async def wake(self) -> None:
        """Answer once the model is loaded."""

    async def diarize(self, audio: Audio, options: SpeakerOptions) -> list[SpeakerTurn]:
        """Find who speaks when."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._model.diarize, audio, options)


class Pipeline:
    """A preset's ingress: decodes, cuts windows and leads the stages; answers HTTP under `/<preset>` and the gateway.

    Stages that the preset borrows are not given as handles; they are found by the name of their application.
    """

    def __init__(self, args: PresetArgs, **own_stages: Any) -> None:
        from serve_app.models.audio import decode
        from serve_app.models.vad import SpeechWindows

        self._args = args
        self._stages = RayStages(args, own_stages)
        self._pipeline = PresetPipeline(
            self._stages,
            lambda upload: decode(upload, args.limits.max_duration_s),
            SpeechWindows(args.vad),
            args.limits.windows_in_flight,
        )
        self._stages.wake()

    def __serve_build_asgi_app__(self) -> Any:
        """Build the HTTP API of this preset alone."""
        return create_api(RayPresets.of_one(self._args, self.transcribe), self._args.limits, self._args.preset)

    async def transcribe(self, upload: bytes, options: RequestOptions) -> Transcript:
        """Transcribe one uploaded file."""
        return await self._pipeline.run(upload, options)


class Gateway:
    """The ingress at `/`: the whole API over all presets; holds no model and decodes nothing."""

    def __init__(self, args: GatewayArgs) -> None:
        self._args = args

    def __serve_build_asgi_app__(self) -> Any:
        """Build the HTTP API over all presets."""
        return create_api(
            RayPresets(self._args.presets, self._args.aliases, self._args.limits.wake_s), self._args.limits
        )
