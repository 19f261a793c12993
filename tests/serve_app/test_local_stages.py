"""Stages in this process: batches, the quality gate, and what is not there."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from fakes import listener, sounds, window

from serve_app.blocks import Block
from serve_app.errors import UnsupportedOption
from serve_app.local_stages import LocalStages
from serve_app.options import DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.pipeline import PresetPipeline
from serve_app.stages import Audio, WindowText

ENGLISH = DecodeOptions("en")


class FirstSample:
    """A transcriber that hears the first sample of a clip; at temperatures below `fails_below` it is not sure."""

    batch_size = 4

    def __init__(self, fails_below: float = 0) -> None:
        self.fails_below = fails_below
        self.batches: list[tuple[float, int]] = []

    def transcribe(self, clips: Sequence[Audio], options: DecodeOptions, temperature: float) -> list[WindowText]:
        self.batches.append((temperature, len(clips)))
        sure = -0.1 if temperature >= self.fails_below else -3.0
        return [WindowText(f"{clip[0]:g}", "en", temperature=temperature, avg_logprob=sure) for clip in clips]

    def detect(self, clips: Sequence[Audio]) -> list[dict[str, float]]:
        return [{"en": 0.2, "de": float(clip[0])} for clip in clips]


def stages(model: FirstSample) -> LocalStages:
    return LocalStages(cast(Any, model))


def sound(value: float) -> Audio:
    return np.full(16_000, value, np.float32)


async def test_windows_are_decoded_in_batches_of_the_models_size() -> None:
    model = FirstSample()
    local = stages(model)
    texts = await asyncio.gather(*(local.transcribe(local.share(sound(i)), ENGLISH, "one") for i in range(9)))
    assert [text.text for text in texts] == [f"{i}" for i in range(9)]
    assert model.batches == [(0.0, 4), (0.0, 4), (0.0, 1)]
    assert [text.batch_full for text in texts] == [True] * 8 + [False]
    assert all(text.model_s > 0 for text in texts)


async def test_what_fails_the_gate_is_decoded_again_at_the_next_temperature() -> None:
    model = FirstSample(fails_below=0.3)
    text = await stages(model).transcribe(sound(1), ENGLISH, "one")
    assert (text.temperature, text.suspect) == (0.4, False)
    assert model.batches == [(0.0, 1), (0.2, 1), (0.4, 1)]


async def test_the_model_runs_one_batch_at_a_time_whoever_asks() -> None:
    at_work, overlapped = threading.Lock(), list[bool]()

    class Slow(FirstSample):
        def transcribe(self, clips: Sequence[Audio], options: DecodeOptions, temperature: float) -> list[WindowText]:
            overlapped.append(not at_work.acquire(blocking=False))
            time.sleep(0.002)  # the work
            if not overlapped[-1]:
                at_work.release()
            return super().transcribe(clips, options, temperature)

    local = stages(Slow())
    await asyncio.gather(*(local.transcribe(sound(i), ENGLISH, str(i)) for i in range(40)))
    assert overlapped == [False] * 10


async def test_languages_are_heard() -> None:
    assert await stages(FirstSample()).detect(sound(0.5), "one") == {"en": 0.2, "de": 0.5}


async def test_speakers_are_refused() -> None:
    local = stages(FirstSample())
    for asked in (
        local.embed(sound(1), "one"),
        local.hear(sound(1), Block(0, 16_000, last=True), "one"),
        local.speakers([], SpeakerOptions(), "one"),
    ):
        with pytest.raises(UnsupportedOption, match="speakers are not told apart in this process"):
            await asked


async def test_a_file_is_transcribed_without_words_and_without_speakers() -> None:
    made = PresetPipeline(
        stages(FirstSample()), listener([window(1, 2), window(3, 4)]), lambda file: sounds(window(0, 1))
    )
    transcript = await made.run(b"", RequestOptions(ENGLISH))
    assert [(each.start, each.end, each.words) for each in transcript.segments] == [(1, 2, ()), (3, 4, ())]
    assert transcript.warnings == ("this preset has no alignment: times are those of segments, not of words",)
    with pytest.raises(UnsupportedOption, match="use one with diarization"):
        await made.run(b"", RequestOptions(ENGLISH, diarize=True))
