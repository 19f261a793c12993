"""The preset DAG as plain asyncio: decode, windows, transcription → alignment beside diarization, merge."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from serve_app import speakers
from serve_app.errors import UnsupportedOption
from serve_app.options import RequestOptions
from serve_app.retry import again
from serve_app.stages import Audio, Stages, WindowText
from serve_app.transcript import Segment, SpeakerTurn, Transcript
from serve_app.windows import SAMPLE_RATE, Window

NO_ALIGNMENT = "this preset has no alignment: times are those of segments, not of words"
NO_ALIGNER = "no aligner for language '{}': times are those of segments, not of words"


class Clock:
    """Seconds per part of the work: the wall time from a part's first start to its last end."""

    def __init__(self) -> None:
        self._origin = time.perf_counter()
        self._spans: dict[str, tuple[float, float]] = {}
        self._sums: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure one stretch of a part; several may run at once."""
        start = time.perf_counter()
        try:
            yield
        finally:
            first, _ = self._spans.get(name, (start, start))
            self._spans[name] = (first, time.perf_counter())

    def add(self, name: str, seconds: float) -> None:
        """Add to a part that is counted as a sum, not as wall time."""
        self._sums[name] = self._sums.get(name, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Return every part, and `total` since the clock was made."""
        walls = {name: end - start for name, (start, end) in self._spans.items()}
        return {**walls, **self._sums, "total": time.perf_counter() - self._origin}


class PresetPipeline:
    """One preset's DAG over its stages; `decode` and `find_windows` are blocking and run in threads."""

    def __init__(
        self,
        stages: Stages,
        decode: Callable[[bytes], Audio],
        find_windows: Callable[[Audio], Sequence[Window]],
        windows_in_flight: int = 32,
    ) -> None:
        self._stages = stages
        self._decode = decode
        self._find_windows = find_windows
        self._in_flight = windows_in_flight

    async def run(self, upload: bytes, options: RequestOptions) -> Transcript:
        """Transcribe one file; raises a `RayscribeError`, and leaves no work behind when cancelled."""
        if options.diarize and not self._stages.has_diarization:
            raise UnsupportedOption("this preset does not tell speakers apart; use one with diarization", "model")
        clock = Clock()
        with clock.part("decode"):
            audio = await asyncio.to_thread(self._decode, upload)
        shared = self._stages.share(audio)
        try:
            async with asyncio.TaskGroup() as group:
                turns = group.create_task(self._turns(shared, options, clock))
                segments, language, warnings = await self._segments(audio, shared, options, clock)
                if not segments:
                    turns.cancel()
        except ExceptionGroup as errors:
            raise first_cause(errors) from errors
        with clock.part("merge"):
            named = () if turns.cancelled() else speakers.letters(turns.result())
            segments = list(speakers.assign(segments, named)) if named else segments
        duration = len(audio) / SAMPLE_RATE
        return Transcript(language, duration, tuple(segments), named, tuple(warnings), clock.seconds())

    async def _turns(self, shared: object, options: RequestOptions, clock: Clock) -> Sequence[SpeakerTurn]:
        if not options.diarize:
            return ()
        with clock.part("diarization"):
            return await again(lambda: self._stages.diarize(shared, options.speakers))

    async def _segments(
        self, audio: Audio, shared: object, options: RequestOptions, clock: Clock
    ) -> tuple[list[Segment], str, list[str]]:
        with clock.part("vad"):
            windows = await asyncio.to_thread(self._find_windows, audio)
        if not windows:
            return [], options.decode.language or "en", []
        work = _Windows(self._stages, shared, options, clock, self._in_flight)
        return await work.run(windows)


class _Windows:
    """The windows of one request on their way through transcription and alignment."""

    def __init__(self, stages: Stages, shared: object, options: RequestOptions, clock: Clock, in_flight: int) -> None:
        self._stages = stages
        self._shared = shared
        self._decode = options.decode
        wanted = options.align and options.decode.task == "transcribe"
        self._align = wanted and stages.has_alignment
        self._clock = clock
        self._turnstile = asyncio.Semaphore(in_flight)
        self._warnings = {NO_ALIGNMENT: None} if wanted and not stages.has_alignment else {}

    async def run(self, windows: Sequence[Window]) -> tuple[list[Segment], str, list[str]]:
        """Return all segments in the order of time, the language, and what was left undone."""
        language = await self._settle_language(windows)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(window)) for window in windows]
        segments = [segment for task in tasks for segment in task.result()]
        return segments, language, list(self._warnings)

    async def _settle_language(self, windows: Sequence[Window]) -> str:
        """Find the language by the longest window, unless the client gave it, and decode all windows in it."""
        if self._decode.language is None:
            longest = max(windows[:8], key=lambda window: window.stop - window.start)
            heard = await self._transcribe(longest)
            self._decode = replace(self._decode, language=heard.language)
            self._known = {longest: heard}
        else:
            self._known = {}
        assert self._decode.language is not None
        return self._decode.language

    async def _one(self, window: Window) -> Sequence[Segment]:
        async with self._turnstile:
            text = self._known.get(window) or await self._transcribe(window)
            if not text.text.strip():
                return ()
            return await self._aligned(window, text) if self._align else (plain_segment(window, text),)

    async def _transcribe(self, window: Window) -> WindowText:
        with self._clock.part("transcription"):
            text = await again(lambda: self._stages.transcribe(self._shared, window, self._decode))
        self._clock.add("queue", text.queue_s)
        self._clock.add("model", text.model_s)
        return text

    async def _aligned(self, window: Window, text: WindowText) -> Sequence[Segment]:
        with self._clock.part("alignment"):
            segments = await again(lambda: self._stages.align(self._shared, window, text))
        if segments is None:
            self._warnings[NO_ALIGNER.format(text.language)] = None
            return (plain_segment(window, text),)
        return segments


def plain_segment(window: Window, text: WindowText) -> Segment:
    """Return the whole window as one segment, without words."""
    return text.segment(window, window.start_s, window.stop_s, text.text.strip(), text.tokens)


def first_cause(error: Exception) -> Exception:
    """Return the first error inside nested groups: the one that made a TaskGroup cancel the rest."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
