"""Stand-ins with the signatures of the real stages and presets, and small makers of test values."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from serve_app.blocks import Block
from serve_app.errors import UnknownPreset
from serve_app.events import Done, Event, Spoken
from serve_app.facts import PresetFacts
from serve_app.flow import Clock
from serve_app.listening import Heard, HeardBlock, HeardEnd, HeardWindow, Upload
from serve_app.options import AlignOptions, DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.presets import PresetStatus
from serve_app.stages import Audio, Stage, WindowText
from serve_app.transcript import Segment, SpeakerTurn, Transcript, Word
from serve_app.voices import Speakers, Voices
from serve_app.windows import SAMPLE_RATE, Window


def window(start_s: float, stop_s: float) -> Window:
    """A window by its seconds."""
    return Window(round(start_s * SAMPLE_RATE), round(stop_s * SAMPLE_RATE))


def silence(seconds: float) -> Audio:
    """Digital silence."""
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def words(text: str, start: float, end: float, speaker: str | None = None) -> tuple[Word, ...]:
    """The words of a text, spread evenly over a stretch of time."""
    parts = text.split()
    step = (end - start) / max(1, len(parts))
    return tuple(
        Word(part, round(start + i * step, 3), round(start + (i + 1) * step, 3), 0.9, speaker)
        for i, part in enumerate(parts)
    )


def segment(text: str, start: float, end: float, speaker: str | None = None) -> Segment:
    """A segment with evenly spread words."""
    return Segment(start, end, text, words(text, start, end, speaker), speaker)


def say(window: Window) -> str:
    """What is heard in a window, unless a test says otherwise."""
    return f" Heard from {window.start_s:g} to {window.stop_s:g}."


def sounds(window: Window) -> Audio:
    """Samples that tell a fake stage which window they are."""
    return np.array([window.start, window.stop], np.float32)


def _window(shared: object) -> Window:
    assert isinstance(shared, np.ndarray)
    return Window(int(shared[0]), int(shared[1]))


def listener(
    windows: Sequence[Window], seconds: float = 30
) -> Callable[[Upload, RequestOptions, Clock], Generator[Heard]]:
    """Hear given windows, and one block for each minute if speakers are told apart."""

    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        with clock.adding("decode"), clock.adding("vad"):
            size = round(seconds * SAMPLE_RATE)
        for start in range(0, size, 60 * SAMPLE_RATE) if options.diarize else ():
            stop = min(start + 70 * SAMPLE_RATE, size)
            yield HeardBlock(Block(start, stop, stop == size), sounds(Window(start, stop)))
        for window in windows:
            yield HeardWindow(window, sounds(window))
        yield HeardEnd(size)

    return listen


@dataclass(frozen=True)
class Call:
    """One call of a stage: which one, on which window or block (None: the whole file), with what options, for whom."""

    stage: str
    window: Window | None
    options: DecodeOptions | SpeakerOptions | AlignOptions | None
    owner: str = field(default="", compare=False)


@dataclass
class FakeStages:
    """Stages that answer at once with made-up text, unless told to fail or to wait.

    `failures[stage]` are raised by the next calls of a stage, None lets one pass; a gate in `gates` holds the calls of
    a stage, or those on a window, until it is set. `begun` are all calls, `unfinished` those that have neither
    returned, nor raised, nor been cancelled.
    """

    has_alignment: bool = True
    has_diarization: bool = True
    language: str = "en"
    aligned_languages: frozenset[str] = frozenset({"en"})
    turns: Sequence[SpeakerTurn] = ()
    copies: int = 1
    say: Callable[[Window], str] = say
    suspect: Sequence[Window] = ()
    voices: Sequence[int] = ()
    failures: dict[str, list[Exception | None]] = field(default_factory=dict)
    gates: dict[str | Window | None, asyncio.Event] = field(default_factory=dict)
    begun: list[Call] = field(default_factory=list)
    unfinished: list[Call] = field(default_factory=list)
    most_at_once: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    shared: list[Audio] = field(default_factory=list)
    _watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = field(default_factory=list)

    def replicas(self, stage: Stage) -> int:
        """As many of each."""
        return self.copies

    def share(self, samples: Audio) -> object:
        self.shared.append(samples)
        return samples

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        await self._pass(Call("detection", _window(shared), None, owner))
        return {self.language: 0.9, "xx": 0.1}

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        window = _window(shared)
        await self._pass(Call("transcription", window, options, owner))
        text = self.say(window)
        language = options.language or self.language
        return WindowText(
            text, language, (1, 2), (1, len(text)), avg_logprob=-0.25, model_s=0.1, suspect=window in self.suspect
        )

    async def align(
        self, shared: object, window: Window, text: WindowText, options: AlignOptions, owner: str
    ) -> Sequence[Segment] | None:
        await self._pass(Call("alignment", _window(shared), options, owner))
        if text.language not in self.aligned_languages:
            return None
        return [replace(segment(text.text.strip(), window.start_s, window.stop_s), suspect=text.suspect)]

    async def embed(self, shared: object, owner: str) -> tuple[float, ...]:
        await self._pass(Call("embedding", None, None, owner))
        return (1.0, 0.0)

    async def hear(self, shared: object, block: Block, owner: str) -> Voices:
        await self._pass(Call("diarization", Window(block.start, block.stop), None, owner))
        nobody = np.zeros((60, 1, 1), np.uint8)
        return Voices(block.start // SAMPLE_RATE, nobody, np.zeros((60, 1, 1), np.float32))

    async def speakers(self, voices: Sequence[Voices], options: SpeakerOptions, owner: str) -> Speakers:
        await self._pass(Call("clustering", None, options, owner))
        self.voices = [each.first for each in voices]
        return Speakers(tuple(self.turns), tuple(self.turns), {"A": (1.0, 0.0)})

    def calls(self, stage: str) -> list[Call]:
        """The calls of one stage, in the order in which they began."""
        return [call for call in self.begun if call.stage == stage]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at whenever a call begins or ends."""
        if not condition():
            reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((condition, reached))
            await asyncio.wait_for(reached, 10)

    async def _pass(self, call: Call) -> None:
        self.begun.append(call)
        self.unfinished.append(call)
        at_once = sum(other.stage == call.stage for other in self.unfinished)
        self.most_at_once[call.stage] = max(self.most_at_once[call.stage], at_once)
        self._look()
        try:
            await asyncio.sleep(0)
            for held in (call.stage, call.window):
                if held in self.gates:
                    await self.gates[held].wait()
            planned = self.failures.get(call.stage)
            if planned and (failure := planned.pop(0)):
                raise failure
        finally:
            self.unfinished.remove(call)
            self._look()

    def _look(self) -> None:
        for condition, reached in self._watchers:
            if not reached.done() and condition():
                reached.set_result(None)


def content(upload: Upload) -> bytes:
    """The bytes of an upload."""
    if isinstance(upload, bytes):
        return upload
    return upload.read_bytes() if isinstance(upload, Path) else upload.read()


@dataclass
class FakePresets:
    """Presets that all answer with one transcript, or with one error, and remember what they were asked."""

    names: list[str] = field(default_factory=lambda: ["fast", "premium"])
    aliases: dict[str, str] = field(default_factory=lambda: {"whisper-1": "fast"})
    transcript: Transcript = field(default_factory=lambda: Transcript("en", 0.0))
    failure: Exception | None = None
    fails_after: int = 0
    states: dict[str, PresetStatus] = field(default_factory=dict)
    made_of: dict[str, PresetFacts] = field(default_factory=dict)
    asked: list[tuple[str, bytes, RequestOptions]] = field(default_factory=list)

    def resolve(self, model: str | None) -> str:
        preset = self.aliases.get(model or "", model or "")
        if preset not in self.names:
            raise UnknownPreset(f"no preset is named '{model}'", "model")
        return preset

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        self.asked.append((preset, content(upload), options))
        if self.failure:
            raise self.failure
        return self.transcript

    async def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        """Tell of each segment by itself; a failure comes after `fails_after` of them."""
        self.asked.append((preset, content(upload), options))
        segments = self.transcript.segments
        for segment in segments[: self.fails_after if self.failure else None]:
            yield Spoken((replace(segment, speaker=None),), self.transcript.language)
        if self.failure:
            raise self.failure
        yield Done(self.transcript)

    async def status(self) -> dict[str, PresetStatus]:
        return {name: self.states.get(name, PresetStatus("ready")) for name in self.names}

    async def facts(self) -> dict[str, PresetFacts]:
        return self.made_of
