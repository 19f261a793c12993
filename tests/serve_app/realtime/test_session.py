"""A live session over fake presets: which events answer which, in which order, and what goes wrong."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import openai.types.realtime as wire
import pytest
from fakes import FakePresets, content, segment
from openai._models import construct_type
from pydantic import TypeAdapter

from serve_app.errors import StageFailed, UnknownPreset
from serve_app.events import Done, Event, Spoken
from serve_app.listening import Upload
from serve_app.models.live_vad import SpeechStarted, SpeechStopped
from serve_app.options import RequestOptions
from serve_app.realtime.hearing import Hearing, Utterance
from serve_app.realtime.session import LiveSession
from serve_app.transcript import TokenLogprob, Transcript

AUDIO = base64.b64encode(np.zeros(2400, np.int16).tobytes()).decode()
NO_TURNS = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
ITEM = "conversation.item.input_audio_transcription"
SERVER_EVENTS: TypeAdapter[Any] = TypeAdapter(wire.RealtimeServerEvent)


class Gated(FakePresets):
    """Presets that hear "One.", "Two.", … in the order of asking; a file's answer waits for its gate, if it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[int, asyncio.Event] = {}
        self.failures: dict[int, Exception] = {}
        self.unfinished = 0

    async def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        number = len(self.asked)
        self.asked.append((preset, content(upload), options))
        self.unfinished += 1
        try:
            await asyncio.sleep(0)
            if gate := self.gates.get(number):
                await gate.wait()
            if failure := self.failures.get(number):
                raise failure
            said = replace(segment(["One.", "Two.", "Three."][number], 0, 1), logprobs=(TokenLogprob("x", -1.0),))
            yield Spoken((said,), "en")
            yield Done(Transcript("en", 1.0, (said,)))
        finally:
            self.unfinished -= 1


class Client:
    """What a session sends, and a way to wait for it."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    async def send(self, event: dict[str, Any]) -> None:
        parsed = construct_type(value=event, type_=wire.RealtimeServerEvent)
        assert type(parsed).__name__ != "dict", event
        self.got.append(event)
        self._more.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not reached():
                self._more.clear()
                await self._more.wait()

    def types(self) -> list[str]:
        return [event["type"] for event in self.got]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.got if event["type"] == kind]


@pytest.fixture
def presets() -> Gated:
    return Gated()


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
async def session(presets: Gated, client: Client) -> AsyncIterator[LiveSession]:
    made = LiveSession(presets, client.send, "fast")
    running = asyncio.create_task(made.run())
    await made.open()
    yield made
    running.cancel()
    made.close()
    with suppress(asyncio.CancelledError):
        await running


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(500):
        if reached():
            return
        await asyncio.sleep(0.01)  # between two looks at a condition
    raise AssertionError("it never came to that")


async def say(session: LiveSession) -> None:
    await session.take({"type": "input_audio_buffer.append", "audio": AUDIO})
    await session.take({"type": "input_audio_buffer.commit"})


async def test_a_session_greets_with_its_settings(session: LiveSession, client: Client) -> None:
    (created,) = client.got
    assert created["type"] == "session.created"
    assert created["session"]["type"] == "transcription"
    assert created["session"]["audio"]["input"]["transcription"]["model"] == "fast"
    assert created["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


async def test_an_unknown_model_is_refused_at_the_door(presets: Gated, client: Client) -> None:
    with pytest.raises(UnknownPreset):
        await LiveSession(presets, client.send, "fats").open()


async def test_a_commit_is_answered_from_its_item_to_its_text(
    session: LiveSession, client: Client, presets: Gated
) -> None:
    await session.take({"type": "session.update", "session": NO_TURNS})
    await say(session)
    await client.until(lambda: bool(client.of(f"{ITEM}.completed")))
    assert client.types() == [
        *("session.created", "session.updated", "input_audio_buffer.committed", "conversation.item.added"),
        *(f"{ITEM}.delta", f"{ITEM}.completed"),
    ]
    assert len({event["item_id"] for event in client.got[-2:]} | {client.got[2]["item_id"]}) == 1
    assert client.got[-1]["transcript"] == client.got[-2]["delta"] == "One."
    assert client.got[-1]["usage"] == {"type": "duration", "seconds": pytest.approx(0.1, abs=0.01)}
    assert presets.asked[0][1].startswith(b"RIFF")


async def test_items_are_told_in_their_order_however_late_the_first_is(
    session: LiveSession, client: Client, presets: Gated
) -> None:
    late = presets.gates[0] = asyncio.Event()
    await session.take({"type": "session.update", "session": NO_TURNS})
    await say(session)
    await say(session)
    await client.until(lambda: len(client.of("conversation.item.added")) == 2)
    await until(lambda: len(presets.asked) == 2)
    assert client.of(f"{ITEM}.completed") == []
    late.set()
    await client.until(lambda: len(client.of(f"{ITEM}.completed")) == 2)
    assert [event["transcript"] for event in client.of(f"{ITEM}.completed")] == ["One.", "Two."]
    first, second = client.of("input_audio_buffer.committed")
    assert (first["previous_item_id"], second["previous_item_id"]) == (None, first["item_id"])


@pytest.mark.parametrize(
    ("failure", "said"), [(StageFailed("it broke"), "it broke"), (ValueError("a secret"), "ValueError")]
)
async def test_what_fails_is_told_and_the_next_is_heard(
    session: LiveSession, client: Client, presets: Gated, failure: Exception, said: str
) -> None:
    presets.failures[0] = failure
    await session.take({"type": "session.update", "session": NO_TURNS})
    await say(session)
    await say(session)
    await client.until(lambda: bool(client.of(f"{ITEM}.completed")))
    (failed,) = client.of(f"{ITEM}.failed")
    assert said in failed["error"]["message"]
    assert "secret" not in failed["error"]["message"]
    assert client.of(f"{ITEM}.completed")[0]["transcript"] == "Two."


async def test_what_the_session_says_reaches_the_preset(session: LiveSession, client: Client, presets: Gated) -> None:
    transcription = {"model": "premium", "language": "en", "prompt": "Before.", "keywords": ["Ray", "Serve"]}
    audio = {"input": {"turn_detection": None, "transcription": transcription}}
    include = [f"{ITEM.removeprefix('conversation.')}.logprobs"]
    await session.take(
        {"type": "session.update", "session": {"type": "transcription", "audio": audio, "include": include}}
    )
    await say(session)
    await client.until(lambda: bool(client.of(f"{ITEM}.completed")))
    preset, _, options = presets.asked[0]
    assert preset == "premium"
    assert (options.decode.language, options.decode.initial_prompt) == ("en", "Before.")
    assert (options.decode.hotwords, options.decode.token_probs) == ("Ray, Serve", True)
    assert client.of(f"{ITEM}.completed")[0]["logprobs"] == [{"token": "x", "bytes": [120], "logprob": -1.0}]


class Heard(Hearing):
    """Hears one utterance in the first append."""

    def feed(self, audio: str) -> list[Any]:
        return [SpeechStarted(1600), SpeechStopped(16_000), Utterance(0, 16_000, b"RIFF")]


async def test_speech_is_told_of_with_the_item_that_it_becomes(presets: Gated, client: Client) -> None:
    session = LiveSession(presets, client.send, "fast", Heard)
    running = asyncio.create_task(session.run())
    await session.take({"type": "input_audio_buffer.append", "audio": AUDIO})
    await client.until(lambda: bool(client.of(f"{ITEM}.completed")))
    running.cancel()
    started, stopped, committed = client.got[:3]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (100, 1000)
    assert started["item_id"] == stopped["item_id"] == committed["item_id"] == client.got[-1]["item_id"]


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ("no object", "type"),
        ({"event_id": "mine"}, "type"),
        ({"type": "response.create", "event_id": "mine"}, "type"),
        ({"type": "input_audio_buffer.append", "event_id": "mine"}, "audio"),
        ({"type": "input_audio_buffer.append", "event_id": "mine", "audio": "?"}, "audio"),
        ({"type": "input_audio_buffer.commit", "event_id": "mine"}, "audio"),
        ({"type": "session.update", "event_id": "mine", "session": {"type": "realtime"}}, "session.type"),
        (
            {"type": "session.update", "event_id": "mine", "session": {"audio": {"input": {"noise_reduction": {}}}}},
            "session.audio.input.noise_reduction",
        ),
        ({"type": "session.update", "event_id": "mine", "session": {"audi": {}}}, "session.audi"),
        (
            {
                "type": "session.update",
                "event_id": "mine",
                "session": {"audio": {"input": {"transcription": {"model": "fats"}}}},
            },
            "model",
        ),
    ],
)
async def test_what_is_wrong_is_told_and_the_session_lives_on(
    session: LiveSession, client: Client, event: Any, param: str
) -> None:
    await session.take(event)
    (told,) = client.of("error")
    assert told["error"]["param"] == param
    assert told["error"]["event_id"] == ("mine" if isinstance(event, dict) else None)
    await session.take({"type": "input_audio_buffer.clear"})
    assert client.types()[-1] == "input_audio_buffer.cleared"


async def test_the_end_of_a_session_gives_up_what_is_under_way(
    session: LiveSession, client: Client, presets: Gated
) -> None:
    presets.gates[0] = asyncio.Event()
    await session.take({"type": "session.update", "session": NO_TURNS})
    await say(session)
    await until(lambda: presets.unfinished == 1)
    session.close()
    await until(lambda: presets.unfinished == 0)


async def test_a_client_that_is_quicker_than_its_preset_waits(
    presets: Gated, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.realtime.session.MOST_WAITING", 1)
    slow = presets.gates[0] = asyncio.Event()
    session = LiveSession(presets, client.send, "fast")
    running = asyncio.create_task(session.run())
    await session.take({"type": "session.update", "session": NO_TURNS})
    await say(session)  # is being told
    await until(lambda: presets.unfinished == 1)
    await say(session)  # waits
    third = asyncio.create_task(say(session))
    await until(lambda: len(client.of("input_audio_buffer.committed")) == 3)
    assert not third.done()
    slow.set()
    await asyncio.wait_for(third, 5)
    await client.until(lambda: len(client.of(f"{ITEM}.completed")) == 3)
    running.cancel()
