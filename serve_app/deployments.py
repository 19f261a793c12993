"""The Serve deployments as plain classes: thin wrappers that load a model and pass work on; `app.py` decorates them."""

from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast

import ray

from serve_app.aligners import Aligners
from serve_app.alignment import Placing
from serve_app.batching import Batcher, threaded
from serve_app.blocks import Block
from serve_app.channels import ChannelListener, Listeners
from serve_app.config import (
    AlignmentArgs,
    DeviceArgs,
    DiarizationArgs,
    GatewayArgs,
    PresetArgs,
    StoreArgs,
    TranscriptionArgs,
)
from serve_app.events import Done, Event
from serve_app.facts import PresetFacts, Speed, StageFacts
from serve_app.handles import RayStages
from serve_app.jobs.opening import open_desk
from serve_app.listening import Listener, speech_settings
from serve_app.loaders import load_aligner, load_diarizer, load_transcriber
from serve_app.loading import loaded
from serve_app.models.calibration import pending
from serve_app.models.devices import beside
from serve_app.options import AlignOptions, DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.parcels import Parcel, unpacked
from serve_app.pipeline import PresetPipeline
from serve_app.preset_handles import RayPresets
from serve_app.quality import decode_until_good
from serve_app.ray_context import detached
from serve_app.sharing import SharedWork
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, Transcript
from serve_app.tuning import Tuner
from serve_app.voices import Speakers, Voices
from serve_app.windows import Window
from serve_app.wire.api import create_api

T = TypeVar("T")
LONGEST_REFERENCE_S = 60
"""OpenAI's are 2 to 10 s long."""
LANES = 2
"""Batches in a model at once: the second one is for requests that are not being served by the first."""


class Transcription:
    """Decodes windows of all requests, batched by equal options; what fails the quality gate is decoded again."""

    def __init__(
        self,
        args: TranscriptionArgs,
        store: StoreArgs,
        load_model: Callable[[TranscriptionArgs, StoreArgs], Any] = load_transcriber,
    ) -> None:
        self._args = args
        self._model = load_model(args, store)
        self._batcher: Batcher[Audio, WindowText] = Batcher(threaded(self._decode, LANES), self._model.batch_size)
        self._detecting: Batcher[Audio, dict[str, float]] = Batcher(threaded(self._detect), self._model.batch_size)
        self._resize(self._model.batch_size)
        self._tuner = Tuner(pending(self._model), self._resize)

    def _resize(self, batch_size: int) -> None:
        self._batcher.size = self._detecting.size = batch_size
        self._batcher.beside = beside(_device(self._model, self._args), batch_size)

    def _decode(self, key: Hashable, clips: Sequence[Audio]) -> list[WindowText]:
        options, temperature = cast(tuple[DecodeOptions, float], key)
        some = self._together(options)
        parts = (clips[start : start + some] for start in range(0, len(clips), some))
        return [text for part in parts for text in self._model.transcribe(part, options, temperature)]

    def _together(self, options: DecodeOptions) -> int:
        """Return how many windows may be decoded together: fewer with a beam that is wider than the memory is for."""
        widest = self._args.beam_size
        return max(1, self._batcher.size * widest // max(widest, options.beam_size or widest))

    def _detect(self, key: Hashable, clips: Sequence[Audio]) -> list[dict[str, float]]:
        heard: list[dict[str, float]] = self._model.detect(clips)
        return heard

    async def wake(self) -> None:
        """Answer once the model is loaded."""

    async def facts(self) -> StageFacts:
        """Tell what it has loaded, and where that runs: a GPU that was asked for may not have been there."""
        return StageFacts(_device(self._model, self._args), loaded())

    async def detect(self, samples: Audio, owner: str) -> dict[str, float]:
        """Tell the probability of each language in one window."""
        with self._tuner.in_use():
            return (await self._detecting.submit(None, samples, owner)).result

    async def transcribe(self, samples: Audio, options: DecodeOptions, owner: str) -> WindowText:
        """Decode one window whose samples lie in the object store."""

        async def decode(temperature: float) -> WindowText:
            timed = await self._batcher.submit((options, temperature), samples, owner)
            return timed.result.run_in(timed.queue_s, timed.model_s, full=timed.full)

        with self._tuner.in_use():
            return await decode_until_good(decode, options)


def _device(model: Any, args: DeviceArgs) -> str:
    """Return where a model runs; what another package's does not tell is what was asked for."""
    return str(getattr(model, "device", args.device))


class Alignment:
    """Places words in time, windows of equal language in batches; languages are loaded when they are asked for."""

    def __init__(
        self,
        args: AlignmentArgs,
        store: StoreArgs,
        load_model: Callable[[AlignmentArgs, StoreArgs, str], Any] = load_aligner,
    ) -> None:
        self._args = args
        first = next(iter(args.models))
        self._aligners = Aligners(lambda language: load_model(args, store, language), args.keep_loaded, first)
        with self._aligners.use(first) as aligner:
            batch_size, self._device = aligner.batch_size, _device(aligner, args)
        self._batcher: Batcher[Placing, list[Segment]] = Batcher(threaded(self._align, LANES), batch_size)

    async def wake(self) -> None:
        """Answer once the first model is loaded."""

    async def facts(self) -> StageFacts:
        """Tell what it has loaded, and where the first model runs."""
        return StageFacts(self._device, loaded())

    async def align(
        self, samples: Audio, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> list[Segment] | None:
        """Place one window's words; None when no snapshot is configured for the language."""
        if text.language not in self._args.models:
            return None
        key = (text.language, options)
        return (await self._batcher.submit(key, Placing(samples, window, text), owner)).result

    def _align(self, key: Hashable, batch: Sequence[Placing]) -> list[list[Segment]]:
        language, options = cast(tuple[str, AlignOptions], key)
        with self._aligners.use(language) as aligner:
            placed: list[list[Segment]] = aligner.align(batch, options)
        return placed


class Diarization:
    """Hears who talks, block by block, and tells at last who speaks when in a whole file."""

    def __init__(
        self,
        args: DiarizationArgs,
        store: StoreArgs,
        load_model: Callable[[DiarizationArgs, StoreArgs], Any] = load_diarizer,
    ) -> None:
        self._args = args
        self._model = load_model(args, store)
        lanes = 1 if _device(self._model, args) == "cuda" else LANES  # a block's activations fill a GPU's memory
        self._batcher: Batcher[Callable[[], Any], Any] = Batcher(threaded(_call, lanes), 1)

    async def wake(self) -> None:
        """Answer once the model is loaded."""

    async def facts(self) -> StageFacts:
        """Tell what it has loaded, and where that runs."""
        return StageFacts(_device(self._model, self._args), loaded())

    async def hear(self, samples: Audio, block: Block, owner: str) -> Voices:
        """Find who is heard in one block."""
        return await self._do(lambda: self._model.hear(block, samples), owner)

    async def embed(self, samples: Audio, owner: str) -> tuple[float, ...]:
        """Return the voice of the one person who talks in a reference clip."""
        return await self._do(lambda: tuple(self._model.embed(samples).tolist()), owner)

    async def speakers(self, voices: Sequence[Voices], options: SpeakerOptions, owner: str) -> Speakers:
        """Tell who speaks when in the whole file."""
        return await self._do(lambda: self._model.turns(voices, options), owner)

    async def _do(self, work: Callable[[], T], owner: str) -> T:
        result: T = (await self._batcher.submit(None, work, owner)).result
        return result


def _call(key: Hashable, work: Sequence[Callable[[], Any]]) -> list[Any]:
    return [each() for each in work]


class Pipeline:
    """A preset's ingress: decodes, cuts windows and leads the stages; answers HTTP under `/<preset>` and the gateway.

    Stages that the preset borrows are not given as handles; they are found by the name of their application.
    """

    def __init__(self, args: PresetArgs, **own_stages: Any) -> None:
        from serve_app.models.audio import channel_pieces, decode, pieces, stated_length
        from serve_app.models.vad import SpeechFinder, SpeechStream

        self._args = args
        self._stages = RayStages(args, own_stages)
        finder = SpeechFinder(args.vad)
        longest_s = args.limits.max_duration_s

        def speech(options: RequestOptions) -> SpeechStream:
            return finder.stream(speech_settings(args.vad, options.speech))

        listeners = Listeners(
            Listener(lambda upload, options: pieces(upload, longest_s, options.clips), speech, stated_length),
            ChannelListener(
                lambda upload, options: channel_pieces(upload, longest_s, options.clips), speech, stated_length
            ),
        )
        self._pipeline = PresetPipeline(
            self._stages,
            listeners.listen,
            lambda file: decode(file, LONGEST_REFERENCE_S),
            args.limits.windows_in_flight,
        )
        self._speed = Speed()
        self._shared = SharedWork(args.limits.linger_s, context=detached)
        self._stages.wake()

    def __serve_build_asgi_app__(self) -> Any:
        """Build the HTTP API of this preset alone."""
        return create_api(RayPresets.of_one(self._args, self), self._args.limits, self._args.preset)

    async def transcribe(self, parcel: Parcel, options: RequestOptions) -> Transcript:
        """Transcribe one file."""
        async with aclosing(self.stream(parcel, options)) as events:
            (done,) = [event async for event in events if isinstance(event, Done)]
        return done.transcript

    async def stream(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file and tell of it as it goes; the same work is done once, however many ask for it."""
        async with aclosing(self._shared.join(parcel.key(options), lambda: self._work(parcel, options))) as events:
            async for event in events:
                yield event

    async def _work(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        async with unpacked(parcel) as upload, aclosing(self._pipeline.stream(upload, options)) as events:
            async for event in events:
                if isinstance(event, Done):
                    self._speed.add(event.transcript)
                yield event

    async def facts(self) -> PresetFacts:
        """Tell what the preset is made of, and how quick this replica was."""
        stages, borrowed = await self._stages.facts(), self._args.borrowed()
        return PresetFacts(stages, borrowed, self._speed.real_time_factor, self._speed.files)


class Gateway:
    """The ingress at `/`: the whole API over all presets; holds no model and decodes nothing.

    It runs jobs too: they only wait for presets, which is no work for a process of its own.
    """

    def __init__(self, args: GatewayArgs) -> None:
        self._args = args

    def __serve_build_asgi_app__(self) -> Any:
        """Build the HTTP API over all presets."""
        presets = RayPresets(self._args.presets, self._args.aliases, self._args.limits.wake_s)
        able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]  # a head may have none
        desk = open_desk(self._args.jobs, presets, len(able)) if self._args.jobs else None
        return create_api(presets, self._args.limits, desk=desk)
