"""The preset DAG as plain asyncio: listening → transcription → alignment, diarization beside them, then the merge."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import zip_longest

from serve_app.channels import turns_of
from serve_app.errors import UnsupportedOption
from serve_app.events import Done, Event, Progress, Tally, Told, nobody
from serve_app.flow import Clock, Slots, in_thread
from serve_app.listening import Heard, HeardBlock, HeardEnd, HeardWindow, Upload
from serve_app.options import KnownSpeaker, Reference, RequestOptions
from serve_app.retry import again
from serve_app.speakers import assign
from serve_app.stages import Audio, Stages
from serve_app.transcript import Transcript
from serve_app.voices import Speakers, Voices
from serve_app.window_work import WindowWork
from serve_app.windows import SAMPLE_RATE

Listen = Callable[[Upload, RequestOptions, Clock], Generator[Heard]]


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

    async def run(self, upload: Upload, options: RequestOptions, told: Told = nobody) -> Transcript:
        """Transcribe one file; raises a `RayscribeError`, and leaves no work behind when cancelled.

        `told` is called with progress, and with finished segments while later ones are being heard.
        """
        if options.diarize and not self._stages.has_diarization:
            raise UnsupportedOption("this preset does not tell speakers apart; use one with diarization", "model")
        windows = Slots(self._windows, self._stages.replicas("transcription"))
        blocks = Slots(self._blocks, self._stages.replicas("diarization") if self._stages.has_diarization else 0)
        request = _Request(self._stages, options, windows, blocks, told)
        try:
            return await request.run(self._listen(upload, options, request.clock), self._decode)
        except ExceptionGroup as errors:
            raise first_cause(errors) from errors

    async def stream(self, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file and tell of it as it goes, as `run` does; `Done` is the last event.

        Closing it leaves no work behind. Of several steps of progress that nobody took in time only the last is told.
        """
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        work = asyncio.create_task(self.run(upload, options, told.put_nowait))
        work.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while event := await told.get():
                for each in _condensed([event, *_waiting(told)]):
                    yield each
            yield Done(await work)
        finally:
            work.cancel()
            await asyncio.wait([work])


def _waiting(told: asyncio.Queue[Event | None]) -> Iterator[Event]:
    """Take what waits, but the end."""
    while not told.empty():
        event = told.get_nowait()
        if event is None:
            told.put_nowait(None)
            return
        yield event


def _condensed(events: list[Event]) -> Iterator[Event]:
    """Leave out progress that newer progress follows."""
    for event, following in zip_longest(events, events[1:]):
        if not (isinstance(event, Progress) and isinstance(following, Progress)):
            yield event


class _Request:
    """One file on its way through the DAG."""

    def __init__(self, stages: Stages, options: RequestOptions, windows: Slots, blocks: Slots, told: Told) -> None:
        self.clock = Clock()
        self._told, self._tally = told, Tally(told)
        self._stages, self._options = stages, options
        self._owner = uuid.uuid4().hex
        self._work = WindowWork(stages, options, self._owner, self.clock, windows, self._tally)
        self._blocks = blocks
        self._hearing: list[asyncio.Task[Voices]] = []
        self._end = HeardEnd(0)

    async def run(self, heard: Generator[Heard], decode: Callable[[bytes], Audio]) -> Transcript:
        async with asyncio.TaskGroup() as group:
            known = [group.create_task(self._known(each, decode)) for each in self._references()]
            stitching = group.create_task(self._work.stitched(self._told))
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
            duration=self._end.samples / SAMPLE_RATE,
            segments=assigned,
            turns=speakers.turns or turns_of(segments),
            warnings=(*self._end.warnings, *self._work.warnings()),
            timings=self.clock.seconds(),
            task=self._options.decode.task,
            voices=speakers.embeddings if self._options.speakers.embeddings else {},
            clipped=None if self._end.clipped is None else self._end.clipped / SAMPLE_RATE,
        )

    async def _dispatch(self, group: asyncio.TaskGroup, heard: Generator[Heard]) -> None:
        """Send on what is heard; waits while too much of it is under way, and so does the listening."""
        async with aclosing(in_thread(heard)) as items:
            async for item in items:
                match item:
                    case HeardWindow():
                        self._tally.heard(item.window.stop_s)
                        await self._work.send(group, item)
                    case HeardBlock():
                        await self._blocks.take()
                        self._tally.one("blocks")
                        self._hearing.append(group.create_task(self._hear(item)))
                    case HeardEnd():
                        self._end = item
        self._tally.heard(self._end.samples / SAMPLE_RATE, all_heard=True)
        self._work.end(group)

    async def _hear(self, heard: HeardBlock) -> Voices:
        async with self._blocks.held():
            shared = self._stages.share(heard.samples)
            with self.clock.part("diarization"):
                voices = await again(lambda: self._stages.hear(shared, heard.block, self._owner))
        self._tally.one("diarized")
        return voices

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
