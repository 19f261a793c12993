"""The preset DAG as plain asyncio: listening → transcription → alignment, diarization beside them, then the merge."""

import asyncio
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing
from dataclasses import replace

from serve_app.errors import UnsupportedOption
from serve_app.flow import Clock, Slots, in_thread
from serve_app.listening import Heard, HeardBlock, HeardEnd, HeardWindow, Upload
from serve_app.options import KnownSpeaker, Reference, RequestOptions
from serve_app.retry import again
from serve_app.speakers import assign
from serve_app.stages import Audio, Stages
from serve_app.transcript import Segment, Transcript
from serve_app.voices import Speakers, Voices
from serve_app.window_work import WindowWork
from serve_app.windows import SAMPLE_RATE

Listen = Callable[[Upload, RequestOptions, Clock], Generator[Heard]]
Told = Callable[[Sequence[Segment]], None]


def _nobody(segments: Sequence[Segment]) -> None:
    """The default for `told`."""


class PresetPipeline:
    """One preset's DAG over its stages; `listen` and `decode` block and run in threads.

    `windows_in_flight` is how many windows of one request are under way to begin with (see `Slots`),
    `blocks_in_flight` how many blocks: together they bound what a long file takes of the object store.
    """

    def __init__(
        self,
        stages: Stages,
        listen: Listen,
        decode: Callable[[bytes], Audio],
        windows_in_flight: int = 16,
        blocks_in_flight: int = 16,
    ) -> None:
        self._stages = stages
        self._listen, self._decode = listen, decode
        self._windows, self._blocks = windows_in_flight, blocks_in_flight

    async def run(self, upload: Upload, options: RequestOptions, told: Told = _nobody) -> Transcript:
        """Transcribe one file; raises a `RayscribeError`, and leaves no work behind when cancelled.

        `told` is called with finished segments in the order of time while later ones are being heard; they have no
        speakers yet.
        """
        if options.diarize and not self._stages.has_diarization:
            raise UnsupportedOption("this preset does not tell speakers apart; use one with diarization", "model")
        request = _Request(self._stages, options, Slots(self._windows), Slots(self._blocks))
        try:
            return await request.run(self._listen(upload, options, request.clock), self._decode, told)
        except ExceptionGroup as errors:
            raise first_cause(errors) from errors


class _Request:
    """One file on its way through the DAG."""

    def __init__(self, stages: Stages, options: RequestOptions, windows: Slots, blocks: Slots) -> None:
        self.clock = Clock()
        self._stages, self._options = stages, options
        self._owner = uuid.uuid4().hex
        self._work = WindowWork(stages, options, self._owner, self.clock, windows)
        self._blocks = blocks
        self._hearing: list[asyncio.Task[Voices]] = []
        self._samples = 0

    async def run(self, heard: Generator[Heard], decode: Callable[[bytes], Audio], told: Told) -> Transcript:
        async with asyncio.TaskGroup() as group:
            known = [group.create_task(self._known(each, decode)) for each in self._references()]
            stitching = group.create_task(self._work.stitched(told))
            await self._dispatch(group, heard)
            segments = await stitching
            if not segments:
                for task in self._hearing:
                    task.cancel()
                self._hearing = []
            speakers = await self._speakers([await each for each in known])
        with self.clock.part("merge"):
            assigned = assign(segments, speakers.turns, speakers.exclusive) if speakers.turns else tuple(segments)
        return Transcript(
            language=self._work.language,
            duration=self._samples / SAMPLE_RATE,
            segments=assigned,
            turns=speakers.turns,
            warnings=self._work.warnings(),
            timings=self.clock.seconds(),
            voices=speakers.embeddings if self._options.speakers.embeddings else {},
        )

    async def _dispatch(self, group: asyncio.TaskGroup, heard: Generator[Heard]) -> None:
        """Send on what is heard; waits while too much of it is under way, and so does the listening."""
        async with aclosing(in_thread(heard)) as items:
            async for item in items:
                match item:
                    case HeardWindow():
                        await self._work.send(group, item)
                    case HeardBlock():
                        await self._blocks.take()
                        self._hearing.append(group.create_task(self._hear(item)))
                    case HeardEnd(samples):
                        self._samples = samples
        self._work.end(group)

    async def _hear(self, heard: HeardBlock) -> Voices:
        async with self._blocks.held():
            shared = self._stages.share(heard.samples)
            with self.clock.part("diarization"):
                return await again(lambda: self._stages.hear(shared, heard.block, self._owner))

    def _references(self) -> Sequence[Reference]:
        return self._options.references if self._options.diarize else ()

    async def _known(self, reference: Reference, decode: Callable[[bytes], Audio]) -> KnownSpeaker:
        samples = await asyncio.to_thread(decode, reference.file)
        shared = self._stages.share(samples)
        with self.clock.part("diarization"):
            voice = await again(lambda: self._stages.embed(shared, self._owner))
        return KnownSpeaker(reference.name, voice)

    async def _speakers(self, known: Sequence[KnownSpeaker]) -> Speakers:
        if not self._hearing:
            return Speakers()
        voices = [await task for task in self._hearing]
        with self.clock.part("diarization"):
            options = replace(self._options.speakers, known=(*self._options.speakers.known, *known))
            return await again(lambda: self._stages.speakers(voices, options, self._owner))


def first_cause(error: Exception) -> Exception:
    """Return the first error inside nested groups: the one that made a TaskGroup cancel the rest."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
