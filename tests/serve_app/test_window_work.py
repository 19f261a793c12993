"""The windows of one request: how many are taken in, what language they are in, when their segments are told."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import pytest
from fakes import FakeStages, sounds, window

from serve_app.errors import ReplicaLost
from serve_app.events import Event, Spoken, Tally, nobody
from serve_app.flow import Clock, Slots
from serve_app.listening import HeardWindow
from serve_app.options import DecodeOptions, RequestOptions
from serve_app.stages import WindowText
from serve_app.transcript import Segment
from serve_app.window_work import LISTEN_TO, WindowWork
from serve_app.windows import SAMPLE_RATE, Window

ENGLISH = RequestOptions(DecodeOptions(language="en"))
MANY = [window(at, at + 0.5) for at in range(25)]


async def settled() -> None:
    """Let all that can go on do so."""
    for _ in range(200):
        await asyncio.sleep(0)


class Work:
    """Sends windows as fast as they are taken in."""

    def __init__(self, stages: FakeStages, options: RequestOptions = ENGLISH, first: int = 2) -> None:
        slots = Slots(first, stages.replicas("transcription"))
        self.windows = WindowWork(stages, options, "owner", Clock(), slots, Tally(nobody))
        self.sent, self.told = 0, list[Event]()

    async def run(self, windows: Sequence[Window], *channels: int) -> list[Segment]:
        async with asyncio.TaskGroup() as group:
            stitching = group.create_task(self.windows.stitched(self.told.append))
            for each, channel in zip_longest(windows, channels):
                await self.windows.send(group, HeardWindow(each, sounds(each), channel))
                self.sent += 1
            self.windows.end(group)
        return stitching.result()


@pytest.mark.parametrize(("replicas", "sent"), [(0, 2 + 1), (1, 2 + 1), (3, 6 + 3)])
async def test_besides_those_under_way_one_window_is_taken_in_for_each_replica(replicas: int, sent: int) -> None:
    stages = FakeStages(gates={"transcription": asyncio.Event()}, copies=replicas)
    work = Work(stages)
    running = asyncio.create_task(work.run(MANY))
    await settled()
    assert work.sent == sent
    stages.gates["transcription"].set()
    assert len(await asyncio.wait_for(running, 10)) == len(MANY)


async def test_no_window_is_decoded_while_there_is_no_room_to_place_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.window_work.MOST_PLACED", 2)
    stages = FakeStages(gates={"alignment": asyncio.Event()})
    running = asyncio.create_task(Work(stages).run(MANY))
    await settled()
    assert len(stages.calls("alignment")) == 2
    assert len(stages.calls("transcription")) == 2 + 2 + 2 * Slots.STEP  # the slots at first, and what two hungry added
    stages.gates["alignment"].set()
    assert len(await asyncio.wait_for(running, 10)) == len(MANY)


async def test_windows_in_which_nothing_is_heard_need_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.window_work.MOST_PLACED", 1)
    stages = FakeStages(say=lambda each: "" if each.start % 32_000 else " Yes.")
    assert len(await asyncio.wait_for(Work(stages).run(MANY), 10)) == 13


class Polyglot(FakeStages):
    """Hears German in long windows and English in short ones."""

    async def detect(self, shared: object, owner: str) -> dict[str, float]:
        await super().detect(shared, owner)
        return {"de": 0.6, "en": 0.4} if is_long(shared) else {"de": 0.4, "en": 0.6}

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        text = await super().transcribe(shared, options, owner)
        return replace(text, language=options.language or ("de" if is_long(shared) else "en"))


def is_long(shared: Any) -> bool:
    start, stop = shared
    return bool(stop - start > 10 * SAMPLE_RATE)


@pytest.mark.parametrize("options", [RequestOptions(), RequestOptions(language_per_window=True)])
async def test_a_file_is_in_the_language_that_is_heard_for_longest(options: RequestOptions) -> None:
    work = Work(Polyglot(), options, first=4)
    await work.run([window(0, 20), window(21, 22), window(23, 24)])
    assert work.windows.language == "de"
    other = Work(Polyglot(), options, first=4)
    await other.run([window(0, 11), *(window(at, at + 9) for at in (20, 30))])
    assert other.windows.language == "en"


async def test_a_language_that_is_still_being_heard_at_the_files_end_is_heard_once() -> None:
    stages = FakeStages(gates={"detection": asyncio.Event()})
    running = asyncio.create_task(Work(stages, RequestOptions(), first=4).run(MANY[:LISTEN_TO]))
    await settled()
    stages.gates["detection"].set()
    assert len(await asyncio.wait_for(running, 10)) == LISTEN_TO
    assert len(stages.calls("detection")) == LISTEN_TO


async def test_a_language_that_a_lost_replica_heard_is_heard_again() -> None:
    stages = FakeStages(failures={"detection": [ReplicaLost("gone")]})
    assert len(await Work(stages, RequestOptions()).run(MANY[:2])) == 2
    assert len(stages.calls("detection")) == 2 + 1


class Telling(FakeStages):
    """Tells the probabilities of its tokens."""

    async def transcribe(self, shared: object, options: DecodeOptions, owner: str) -> WindowText:
        text = await super().transcribe(shared, options, owner)
        return replace(text, token_logprobs=(math.log(0.5), math.log(0.5)))


async def test_what_the_tokens_say_reaches_words_and_plain_segments() -> None:
    (aligned,) = await Work(Telling()).run(MANY[:1])
    assert {word.probability for word in aligned.words} == {0.5}
    (plain,) = await Work(Telling(), replace(ENGLISH, align=False)).run(MANY[:1])
    assert [each.logprob for each in plain.logprobs] == [math.log(0.5)] * 2


async def test_sentences_are_told_as_soon_as_none_of_another_channel_can_come_before_them() -> None:
    last = window(8, 9)
    stages = FakeStages(gates={last: asyncio.Event()})
    work = Work(stages, replace(ENGLISH, channels="separate"), first=4)
    running = asyncio.create_task(work.run([window(0, 3), window(1, 2), last], 0, 1, 0))
    await settled()
    assert [each.speaker for event in work.told if isinstance(event, Spoken) for each in event.segments] == ["A", "B"]
    stages.gates[last].set()
    assert [each.speaker for each in await asyncio.wait_for(running, 10)] == ["A", "B", "A"]
