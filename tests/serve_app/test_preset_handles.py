"""Presets by their names and handles, without a cluster: what is sent again, what is given up, who shares a look."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import segment
from ray.exceptions import ActorDiedError, OutOfMemoryError

from serve_app.config import PresetArgs, TranscriptionArgs
from serve_app.errors import PresetUnavailable, ReplicaLost, UnknownPreset
from serve_app.events import Done, Event, Progress, Spoken
from serve_app.facts import PresetFacts
from serve_app.options import RequestOptions
from serve_app.parcels import Parcel
from serve_app.preset_handles import HOSTED_MODELS, FarPipelines, RayPresets
from serve_app.presets import PresetStatus, State
from serve_app.retry import ATTEMPTS, UNNOTICED_S
from serve_app.transcript import Transcript

PRESETS = RayPresets(["fast", "high"], {"whisper-1": "fast"})


@pytest.mark.parametrize(("model", "preset"), [("fast", "fast"), ("high", "high"), ("whisper-1", "fast")])
def test_a_model_is_a_preset_or_an_alias(model: str, preset: str) -> None:
    assert PRESETS.resolve(model) == preset


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("hihg", "no preset is named 'hihg'; did you mean 'high'?"),
        ("zzz", "no preset is named 'zzz'; known are: fast, high, whisper-1"),
        (None, "'model' is required; known are: fast, high, whisper-1"),
    ],
)
def test_an_unknown_model_is_told_what_there_is(model: str | None, said: str) -> None:
    with pytest.raises(UnknownPreset) as caught:
        PRESETS.resolve(model)
    assert caught.value.param == "model"
    assert said in str(caught.value)
    assert "None" not in str(caught.value)


class Near:
    """A pipeline whose only work is what a test says."""

    def __init__(self, work: Callable[[Parcel], Coroutine[Any, Any, Transcript]]) -> None:
        self._work = work

    async def transcribe(self, parcel: Parcel, options: RequestOptions) -> Transcript:
        return await self._work(parcel)

    async def stream(self, parcel: Parcel, options: RequestOptions) -> AsyncGenerator[Event]:
        yield Done(await self._work(parcel))

    async def facts(self) -> PresetFacts:
        return PresetFacts(files=7)


async def test_a_presets_own_path_answers_to_its_name_and_to_openais() -> None:
    async def work(parcel: Parcel) -> Transcript:
        return Transcript("en", float(len(parcel.data)))

    args = PresetArgs(preset="fast", transcription=TranscriptionArgs(model="m"))
    presets = RayPresets.of_one(args, Near(work))
    names: list[Any] = [None, "fast", *HOSTED_MODELS]
    assert {presets.resolve(name) for name in names} == {"fast"}
    with pytest.raises(UnknownPreset):
        presets.resolve("high")
    assert (await presets.transcribe("fast", b"123", RequestOptions())).duration == 3.0


class Stuck(RayPresets):
    """Presets whose replicas are as told, one state at each look; the last one stays."""

    def __init__(self, wake_s: float, states: list[State], work: Callable[[], Coroutine[Any, Any, Transcript]]) -> None:
        super().__init__(["high"], {}, wake_s, lambda _: Near(lambda _: work()))
        self._states = states
        self.all_looked_at = asyncio.Event()

    async def status(self) -> dict[str, PresetStatus]:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if len(self._states) == 1:
            self.all_looked_at.set()
        return {"high": PresetStatus(state, "waiting for Transcription")}


class Endless:
    """Work that is never done, and says when it is given up."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def run(self) -> Transcript:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError


async def test_a_preset_without_room_is_given_up_and_its_work_ended() -> None:
    work = Endless()
    with pytest.raises(PresetUnavailable, match=r"'high' found no room .* \(waiting for Transcription\).*ray status"):
        await Stuck(0.05, ["starting"], work.run).transcribe("high", b"", RequestOptions())
    await asyncio.wait_for(work.ended.wait(), 1)


async def test_work_goes_on_while_replicas_run_or_come_back() -> None:
    looks: list[State] = ["starting", "ready", "starting", "ready", "ready"]
    done = Transcript("en", 1.0, (), (), (), {})

    async def until_seen() -> Transcript:
        await presets.all_looked_at.wait()
        return done

    presets = Stuck(0.02, looks, until_seen)
    assert await presets.transcribe("high", b"", RequestOptions()) is done


async def test_those_who_ask_for_the_state_at_once_share_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's `serve.status` fails when two threads are in it."""
    lock, looks = threading.Lock(), 0

    def status() -> Any:
        nonlocal looks
        assert lock.acquire(blocking=False)
        looks += 1
        time.sleep(0.02)
        lock.release()
        return SimpleNamespace(applications={})

    monkeypatch.setattr("serve_app.preset_handles.serve.status", status)
    presets = RayPresets(["fast"], {})
    states = await asyncio.gather(*(presets.status() for _ in range(20)))
    assert {state["fast"].state for state in states} == {"starting"}
    assert looks == 1
    await presets.status()
    assert looks == 2


async def test_a_controller_that_does_not_answer_costs_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def status() -> Any:
        loop.call_soon_threadsafe(asked.set)
        raise ConnectionError("the controller is being restarted")

    async def work() -> Transcript:
        await asked.wait()
        return Transcript("en", 1.0)

    monkeypatch.setattr("serve_app.preset_handles.serve.status", status)
    presets = RayPresets(["fast"], {}, 0.02, lambda _: Near(lambda _: work()))
    assert (await presets.transcribe("fast", b"", RequestOptions())).duration == 1.0


async def test_a_controller_that_never_answers_holds_no_answer_back() -> None:
    """As while Ray's head is away: the call neither returns nor fails."""
    asked = asyncio.Event()

    class Silent(RayPresets):
        async def status(self) -> dict[str, PresetStatus]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    async def work() -> Transcript:
        await asked.wait()
        return Transcript("en", 1.0)

    presets = Silent(["fast"], {}, 0.02, lambda _: Near(lambda _: work()))
    async with asyncio.timeout(5):
        assert (await presets.transcribe("fast", b"", RequestOptions())).duration == 1.0


class Responses:
    """A handle whose calls answer one after another with these lists of events; an exception among them is raised."""

    def __init__(self, *answers: list[Event | Exception]) -> None:
        self._answers = list(answers)
        self.sessions: list[str] = []
        self.cancelled = 0
        self.stream = self

    def options(self, *, session_id: str, stream: bool = False) -> "Responses":
        self.sessions.append(session_id)
        return self

    def remote(self, parcel: Parcel, options: RequestOptions) -> "Responses":
        self._coming = iter(self._answers.pop(0))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def __aiter__(self) -> "Responses":
        return self

    async def __anext__(self) -> Event:
        for event in self._coming:
            if isinstance(event, Exception):
                raise event
            return event
        raise StopAsyncIteration


def spoken(*starts: float) -> Spoken:
    return Spoken(tuple(segment("Word.", start, start + 1) for start in starts), "en")


DONE = Done(Transcript("en", 9.0))
PARCEL = Parcel("digest", b"sound")


async def streamed(handle: Responses) -> list[Event]:
    async with aclosing(FarPipelines("high", handle).stream(PARCEL, RequestOptions())) as events:
        return [event async for event in events]


async def test_a_stream_passes_and_ends() -> None:
    handle = Responses([spoken(0), DONE])
    assert await streamed(handle) == [spoken(0), DONE]
    assert handle.sessions == [PARCEL.key(RequestOptions())]


async def test_after_a_pipelines_death_only_what_is_new_is_told() -> None:
    handle = Responses(
        [Progress(windows=1), spoken(0), spoken(1, 2), ActorDiedError()],
        [spoken(0, 1), spoken(2), spoken(3), DONE],
    )
    told = [event.segments for event in await streamed(handle) if isinstance(event, Spoken)]
    assert [each.start for segments in told for each in segments] == [0, 1, 2, 3]


async def test_pipelines_that_die_again_and_again_are_given_up() -> None:
    with pytest.raises(PresetUnavailable, match="3 times in a row"):
        await streamed(Responses(*([ActorDiedError()] for _ in range(ATTEMPTS))))


async def test_a_pipeline_that_was_killed_is_left_time_to_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr("serve_app.retry.sleep", sleep)
    handle = Responses([spoken(0), OutOfMemoryError("low on memory")], [spoken(0), DONE])
    assert (await streamed(handle))[-1] == DONE
    assert paused == [UNNOTICED_S[0]]


async def test_who_stops_listening_cancels_the_call() -> None:
    handle = Responses([spoken(0), spoken(1), DONE])
    async with aclosing(FarPipelines("high", handle).stream(PARCEL, RequestOptions())) as events:
        assert await anext(events) == spoken(0)
    assert handle.cancelled == 1


async def test_a_stream_is_given_up_when_its_preset_finds_no_room() -> None:
    work = Endless()
    presets = Stuck(0.05, ["starting"], work.run)
    with pytest.raises(PresetUnavailable, match="found no room"):
        async for _ in presets.stream("high", b"", RequestOptions()):
            pass
    await asyncio.wait_for(work.ended.wait(), 1)


class Sleepy(RayPresets):
    """One preset that is ready, one that is asleep, one whose pipeline is lost."""

    def __init__(self) -> None:
        super().__init__(["fast", "high", "lost"], {}, 1, self._pipeline)
        self.asked: list[str] = []

    def _pipeline(self, name: str) -> Any:
        self.asked.append(name)
        return Near(never) if name == "fast" else Lost()

    async def status(self) -> dict[str, PresetStatus]:
        return {"fast": PresetStatus("ready"), "high": PresetStatus("asleep"), "lost": PresetStatus("ready")}


class Lost:
    async def facts(self) -> PresetFacts:
        raise ReplicaLost("gone")


async def never(parcel: Parcel) -> Transcript:
    raise AssertionError


async def test_facts_wake_nobody_and_one_that_is_lost_takes_none_with_it() -> None:
    presets = Sleepy()
    assert await presets.facts() == {"fast": PresetFacts(files=7)}
    assert presets.asked == ["fast", "lost"]
