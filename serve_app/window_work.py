"""The windows of one request on their way through transcription and alignment, and back into the order of time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from serve_app.channels import Interleaved, speaker_of, spoken_by
from serve_app.events import Spoken, Tally, Told
from serve_app.flow import Clock, Slots
from serve_app.languages import settle
from serve_app.listening import HeardWindow
from serve_app.options import RequestOptions
from serve_app.retry import again
from serve_app.stages import Stages, WindowText
from serve_app.token_figures import of_tokens, with_probabilities
from serve_app.transcript import Segment
from serve_app.windows import Window

NO_ALIGNMENT = "this preset has no alignment: times are those of segments, not of words"
NO_ALIGNER = "no aligner for language '{}': times are those of segments, not of words"
SUSPECT = "{} of {} windows stayed below the quality thresholds; their segments are marked suspect"
MOST_PLACED = 256
"""Windows whose words are being placed; while there are as many, transcription waits."""
LISTEN_TO = 3
"""Windows in which the language of a file is heard."""


class WindowWork:
    """Takes windows in, lets out their segments in the order of time, however late each is done."""

    def __init__(
        self, stages: Stages, options: RequestOptions, owner: str, clock: Clock, slots: Slots, tally: Tally
    ) -> None:
        self._stages, self._owner, self._clock, self._slots, self._tally = stages, owner, clock, slots, tally
        self._options = options
        wanted = options.align and options.decode.task == "transcribe"
        self._align = wanted and stages.has_alignment
        self._warnings = {NO_ALIGNMENT: None} if wanted and not stages.has_alignment else {}
        self._first: list[tuple[Window, object]] = []
        self._language: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        if options.decode.language or options.language_per_window:
            self._language.set_result(options.decode.language)
        self._tasks: asyncio.Queue[tuple[Window, asyncio.Task[Sequence[Segment]]] | None] = asyncio.Queue()
        self._interleaved = Interleaved() if options.channels == "separate" else None
        self._heard: dict[str, float] = {}
        self._count = self._suspect = 0
        self._listen_to = min(LISTEN_TO, slots.first)
        self._ahead = asyncio.Semaphore(max(1, stages.replicas("transcription")))
        self._placing = asyncio.Semaphore(MOST_PLACED)

    @property
    def language(self) -> str:
        """The language asked for, else the one in which most was heard."""
        return self._options.decode.language or max(self._heard, key=lambda code: self._heard[code], default="en")

    def warnings(self) -> tuple[str, ...]:
        """What was left undone or is doubtful, and why."""
        doubts = [SUSPECT.format(self._suspect, self._count)] if self._suspect else []
        return (*self._warnings, *doubts)

    async def send(self, group: asyncio.TaskGroup, heard: HeardWindow) -> None:
        """Put a window to work as soon as not too many are."""
        await self._ahead.acquire()
        self._count += 1
        self._tally.one("windows")
        shared = self._stages.share(heard.samples)
        if not self._language.done() and len(self._first) < self._listen_to:
            self._first.append((heard.window, shared))
            if len(self._first) == self._listen_to:
                group.create_task(self._settle_language())
        self._tasks.put_nowait((heard.window, group.create_task(self._one(heard.window, shared, heard.channel))))

    def end(self, group: asyncio.TaskGroup) -> None:
        """Say that no window will follow."""
        self._slots.last_in()
        self._tasks.put_nowait(None)
        if self._language.done() or len(self._first) == self._listen_to:
            return
        if len(self._first) > 1 or (self._first and self._options.languages):
            group.create_task(self._settle_language())
        else:
            self._language.set_result(None)  # a single window is told its language while it is decoded

    async def stitched(self, told: Told) -> list[Segment]:
        """Return all segments in the order of time; `told` hears of them as soon as their turn has come."""
        segments: list[Segment] = []

        def tell(found: Sequence[Segment]) -> None:
            if found:
                told(Spoken(tuple(found), self.language))
                segments.extend(found)

        while waiting := await self._tasks.get():
            window, task = waiting
            tell(self._certain(window.start_s))
            tell(self._in_turn(await task))
        tell(self._certain(float("inf")))
        return segments

    def _in_turn(self, found: Sequence[Segment]) -> Sequence[Segment]:
        """Return the next window's segments, unless others of another channel may come before them."""
        if self._interleaved is None:
            return found
        self._interleaved.add(found)
        return ()

    def _certain(self, start_s: float) -> Sequence[Segment]:
        return self._interleaved.before(start_s) if self._interleaved else ()

    async def _settle_language(self) -> None:
        """Hear the first windows' language and decode all windows in it."""
        heard = await asyncio.gather(*(self._detected(shared) for _, shared in self._first))
        weights = [window.stop - window.start for window, _ in self._first]
        self._language.set_result(settle(heard, weights, self._options.languages))

    async def _detected(self, shared: object) -> dict[str, float]:
        with self._clock.part("transcription"):
            return await again(lambda: self._stages.detect(shared, self._owner))

    async def _one(self, window: Window, shared: object, channel: int | None) -> Sequence[Segment]:
        segments = await self._written(window, shared)
        return segments if channel is None else spoken_by(speaker_of(channel, self._options), segments)

    async def _written(self, window: Window, shared: object) -> Sequence[Segment]:
        text = await self._decoded(window, shared)
        try:
            if not text.text.strip():
                return ()
            return await self._aligned(window, shared, text) if self._align else (plain_segment(window, text),)
        finally:
            self._placing.release()

    async def _decoded(self, window: Window, shared: object) -> WindowText:
        """Return a window's text when its turn has come, and when there is room to place its words."""
        await self._slots.take(window.stop - window.start)
        self._ahead.release()
        hungry = False
        try:
            text = await self._transcribed(shared)
            hungry = text.hungry
            await self._placing.acquire()
        finally:
            self._slots.give_back(hungry=hungry)
        self._tally.one("transcribed")
        self._heard[text.language] = self._heard.get(text.language, 0) + window.stop - window.start
        self._suspect += text.suspect
        return text

    async def _transcribed(self, shared: object) -> WindowText:
        options = replace(self._options.decode, language=await asyncio.shield(self._language))
        with self._clock.part("transcription"):
            text = await again(lambda: self._stages.transcribe(shared, options, self._owner))
        self._clock.add("queue", text.queue_s)
        self._clock.add("model", text.model_s)
        return text

    async def _aligned(self, window: Window, shared: object, text: WindowText) -> Sequence[Segment]:
        with self._clock.part("alignment"):
            segments = await again(lambda: self._stages.align(shared, window, text, self._options.placing, self._owner))
        self._tally.one("aligned")
        if segments is None:
            self._warnings[NO_ALIGNER.format(text.language)] = None
            return (plain_segment(window, text),)
        return with_probabilities(segments, text) if text.token_logprobs else segments


def plain_segment(window: Window, text: WindowText) -> Segment:
    """Return the whole window as one segment, without words."""
    segment = text.segment(window, window.start_s, window.stop_s, text.text.strip(), text.tokens)
    return replace(segment, logprobs=of_tokens(text))
