"""Streams on the wire: what the unmodified SDK makes of them, heartbeats, and failures before and in the middle."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import anyio
import openai
import pytest
from fakes import FakePresets, segment

from serve_app.errors import NotAudio, StageFailed
from serve_app.events import Done, Event, Progress, Spoken
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.wire.streaming import Telling

TRANSCRIPT = Transcript(
    "en",
    4.2,
    (segment("Hello there.", 0.0, 2.0, "A"), segment("Bye.", 2.0, 4.0, "B")),
    turns=(SpeakerTurn(0, 2, "A"), SpeakerTurn(2, 4, "B")),
)


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=TRANSCRIPT)


async def stream(sdk: openai.AsyncOpenAI, **options: Any) -> list[Any]:
    told = await sdk.audio.transcriptions.create(model="fast", file=b"sound", stream=True, **options)
    return [event async for event in told]


@pytest.mark.parametrize("response_format", ["json", "text"])
async def test_deltas_make_the_text_and_the_end_carries_all_of_it(
    sdk: openai.AsyncOpenAI, response_format: Any
) -> None:
    *deltas, done = await stream(sdk, response_format=response_format)
    assert [delta.type for delta in deltas] == ["transcript.text.delta"] * 2
    assert "".join(delta.delta for delta in deltas) == done.text == "Hello there. Bye."
    assert done.type == "transcript.text.done"
    assert (done.usage.type, done.usage.input_tokens) == ("tokens", 210)
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


async def test_usage_is_of_what_was_heard_of_the_file(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.transcript = Transcript("en", 60.0, (segment("Hello there.", 0, 1),), clipped=2.0)
    *_, done = await stream(sdk)
    assert done.usage.input_tokens == 100


async def test_speakers_come_as_segments(sdk: openai.AsyncOpenAI) -> None:
    events = await stream(sdk, response_format="diarized_json")
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [(each.speaker, each.start, each.end, each.text) for each in segments] == [
        ("A", 0.0, 2.0, "Hello there."),
        ("B", 2.0, 4.0, "Bye."),
    ]
    assert [each.id for each in segments] == ["seg_0", "seg_1"]
    assert events[-1].text == "Hello there. Bye."


async def test_a_streams_end_has_the_voices(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.transcript = replace(TRANSCRIPT, voices={"A": (0.5, -1.0)})
    options = {"response_format": "diarized_json", "extra_body": {"speaker_embeddings": True}}
    assert (await stream(sdk, **options))[-1].speaker_embeddings == {"A": [0.5, -1.0]}
    assert not hasattr((await stream(sdk, response_format="diarized_json"))[-1], "speaker_embeddings")


async def test_a_streams_end_says_what_was_left_undone(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    assert not hasattr((await stream(sdk))[-1], "warnings")
    presets.transcript = replace(TRANSCRIPT, warnings=("no aligner", "a doubt"))
    assert (await stream(sdk))[-1].warnings == ["no aligner", "a doubt"]


async def test_words_of_languages_without_spaces_are_not_parted(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.transcript = Transcript("ja", 2.0, (segment("こん", 0, 1), segment("にちは", 1, 2)))
    *deltas, done = await stream(sdk)
    assert "".join(delta.delta for delta in deltas) == done.text == "こんにちは"


async def test_silence_streams_an_end_alone(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.transcript = Transcript("en", 2.0)
    (done,) = await stream(sdk)
    assert done.text == ""


async def test_what_is_wrong_from_the_start_has_its_status(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.failure = NotAudio("that is no audio", "file")
    with pytest.raises(openai.BadRequestError) as caught:
        await stream(sdk)
    assert (caught.value.code, caught.value.param) == ("invalid_audio", "file")


async def test_what_goes_wrong_in_the_middle_is_raised_by_the_sdk(
    sdk: openai.AsyncOpenAI, presets: FakePresets
) -> None:
    presets.failure, presets.fails_after = StageFailed("the model broke"), 1
    told = await sdk.audio.transcriptions.create(model="fast", file=b"sound", stream=True)
    assert (await anext(told)).delta == "Hello there."  # type: ignore[union-attr]
    with pytest.raises(openai.APIError, match="the model broke"):
        await anext(told)


async def written(events: AsyncGenerator[Event], heartbeat_s: float = 10) -> list[str]:
    return [frame async for frame in Telling(events).frames(diarized=False, heartbeat_s=heartbeat_s)]


async def test_while_nothing_is_told_comments_keep_the_connection() -> None:
    async def slow() -> AsyncGenerator[Event]:
        await asyncio.sleep(0.1)  # several heartbeats
        yield Progress(windows=1)
        yield Done(TRANSCRIPT)

    told = await written(slow(), heartbeat_s=0.02)
    assert told.count(": heartbeat\n\n") >= 2
    assert json.loads(told[-2].removeprefix("data: "))["type"] == "transcript.text.done"
    assert told[-1] == "data: [DONE]\n\n"


async def test_an_unforeseen_failure_tells_nothing_of_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncGenerator[Event]:
        yield Spoken((segment("Hello.", 0, 1),), "en")
        raise ValueError("a secret")

    told = await written(broken())
    assert "internal error" in told[-2]
    assert "secret" not in "".join(told)
    assert "a secret" in caplog.text


async def test_who_stops_reading_ends_the_work() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[Event]:
        try:
            yield Spoken((segment("Hello.", 0, 1),), "en")
            await asyncio.Event().wait()
        finally:
            ended.set()

    told = Telling(endless()).frames(diarized=False, heartbeat_s=0.01)
    async for frame in told:
        if frame.startswith(":"):
            break
    await told.aclose()
    await asyncio.wait_for(ended.wait(), 5)


async def test_who_goes_before_the_first_event_ends_the_work() -> None:
    ended = asyncio.Event()

    async def silent() -> AsyncGenerator[Event]:
        try:
            await asyncio.Event().wait()
            yield Progress()
        finally:
            ended.set()

    waiting = asyncio.create_task(Telling(silent()).begun(60))
    await asyncio.sleep(0)  # it begins to wait
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_server_that_cancels_again_and_again_ends_the_work_in_peace() -> None:
    """Starlette ends a streamed response by anyio's cancel scope, in which every further await is cancelled too."""
    began, steps = asyncio.Event(), []

    async def careful() -> AsyncGenerator[Event]:
        try:
            began.set()
            yield Spoken((segment("Hello.", 0, 1),), "en")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # what is ended with care takes a while
            steps.append("ended")

    async def read() -> None:
        async for _ in Telling(careful()).frames(diarized=False, heartbeat_s=60):
            pass

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await began.wait()
        group.cancel_scope.cancel()
    for _ in range(100):
        await asyncio.sleep(0.01)  # until the task apart is done
        if steps:
            break
    assert steps == ["ended"]
