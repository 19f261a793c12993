"""Channels heard apart: each one speaker, in one order of time, from the decoder to the transcript."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeStages, segment, silence, sounds, window
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError
from sounds import wav

from serve_app.channels import ALL_ALIKE, ONE_CHANNEL, ChannelListener, Interleaved, Listeners, speaker_of
from serve_app.config import VadArgs
from serve_app.errors import BadRequest
from serve_app.events import Event, Spoken
from serve_app.flow import Clock
from serve_app.listening import Heard, HeardEnd, HeardWindow, Listener, Upload
from serve_app.models.audio import channel_pieces, decode, pieces, stated_length
from serve_app.models.vad import SpeechFinder
from serve_app.options import DecodeOptions, Reference, RequestOptions, SpeakerOptions
from serve_app.parcels import Parcel
from serve_app.pipeline import PresetPipeline
from serve_app.preset_handles import FarPipelines
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.windows import SAMPLE_RATE, Window

APART = RequestOptions(DecodeOptions(language="en"), channels="separate")


class Known:
    """A channel whose windows are known beforehand; each is certain some seconds after its end, as `late_s` says."""

    def __init__(self, windows: Sequence[Window], late_s: float = 0.0) -> None:
        self._left, self._late = list(windows), round(late_s * SAMPLE_RATE)
        self._fed = 0

    @property
    def horizon(self) -> int:
        return min([max(0, self._fed - self._late), *(each.start for each in self._left)])

    def feed(self, piece: Piece) -> list[tuple[Window, Audio]]:
        self._fed = piece.stop
        found = [each for each in self._left if each.stop + self._late <= piece.stop]
        self._left = self._left[len(found) :]
        return [(each, sounds(each)) for each in found]

    def close(self) -> list[tuple[Window, Audio]]:
        found, self._left = self._left, []
        return [(each, sounds(each)) for each in found]


def listen(
    *channels: Known, seconds: int = 60, options: RequestOptions = APART, alike_from: float = float("inf")
) -> list[Heard]:
    """What is heard of a file whose channels are these."""

    def moments(upload: Upload, options: RequestOptions) -> Iterator[tuple[Piece, ...]]:
        for at in range(0, seconds, 5):
            samples = [
                np.full(5 * SAMPLE_RATE, 0.0 if at >= alike_from else channel / 10, np.float32) for channel in range(8)
            ]
            yield tuple(Piece(at * SAMPLE_RATE, each) for each in samples[: len(channels)])

    streams = iter(channels)
    listener = ChannelListener(moments, lambda options: next(streams), lambda upload: 0)
    return list(listener.listen(b"", options, Clock()))


def places(heard: list[Heard]) -> list[tuple[float, int | None]]:
    return [(each.window.start_s, each.channel) for each in heard if isinstance(each, HeardWindow)]


def test_windows_of_all_channels_come_in_the_order_of_time() -> None:
    heard = listen(
        Known([window(0, 9), window(20, 22)], late_s=20), Known([window(3, 4), window(5, 6), window(30, 31)])
    )
    assert places(heard) == [(0, 0), (3, 1), (5, 1), (20, 0), (30, 1)]
    assert heard[-1] == HeardEnd(60 * SAMPLE_RATE)
    first = heard[1]
    assert isinstance(first, HeardWindow)
    np.testing.assert_array_equal(first.samples, sounds(window(3, 4)))


def test_a_silent_channel_holds_nothing_back() -> None:
    heard = listen(Known([]), Known([window(1, 2), window(50, 51)]))
    assert places(heard) == [(1, 1), (50, 1)]


spans = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8)), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(spans, st.floats(0, 40)), min_size=1, max_size=4))
def test_however_late_a_channel_is_nothing_is_lost_or_out_of_order(channels: list[tuple[Any, float]]) -> None:
    made = []
    for parts, late_s in channels:
        edges = np.cumsum([0, *(length for part in parts for length in part)])
        made.append(([window(start, stop) for start, stop in zip(edges[1::2], edges[2::2], strict=True)], late_s))
    heard = places(listen(*(Known(windows, late_s) for windows, late_s in made), seconds=100))
    expected = [(each.start_s, channel) for channel, (windows, _) in enumerate(made) for each in windows]
    assert sorted(heard) == sorted(expected)
    assert [start for start, _ in heard] == sorted(start for start, _ in heard)


@pytest.mark.parametrize(
    ("channels", "alike_from", "warnings"),
    [(1, 60, (ONE_CHANNEL,)), (2, 60, ()), (2, 0, (ALL_ALIKE,)), (2, 30, ()), (1, 0, (ONE_CHANNEL,))],
)
def test_what_makes_little_sense_is_warned_of(channels: int, alike_from: float, warnings: tuple[str, ...]) -> None:
    end = listen(*(Known([]) for _ in range(channels)), alike_from=alike_from)[-1]
    assert isinstance(end, HeardEnd)
    assert end.warnings == warnings


def test_a_file_without_samples_is_nothing_to_warn_of() -> None:
    assert listen(seconds=0) == [HeardEnd(0)]


def test_more_names_than_channels_are_refused() -> None:
    named = replace(APART, channel_names=("Ann", "Bob", "Cid"))
    with pytest.raises(BadRequest, match="3 known_speaker_names for a file of 2 channels") as caught:
        listen(Known([]), Known([]), options=named)
    assert caught.value.param == "known_speaker_names"
    assert listen(Known([]), Known([]), options=replace(APART, channel_names=("Ann", "Bob")))


def test_speakers_are_named_or_lettered_by_their_channel() -> None:
    assert [speaker_of(each, APART) for each in range(3)] == ["A", "B", "C"]
    assert [speaker_of(each, replace(APART, channel_names=("Ann",))) for each in range(2)] == ["Ann", "B"]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"diarize": True}, "diarize"),
        ({"references": (Reference("Ann", b""),)}, "known_speaker_references"),
        ({"speakers": SpeakerOptions(num_speakers=2)}, "num_speakers"),
    ],
)
def test_speakers_are_told_apart_in_one_way(options: Any, param: str) -> None:
    with pytest.raises(BadRequest, match="channels=separate") as caught:
        RequestOptions(channels="separate", **options)
    assert caught.value.param == param


def test_segments_wait_for_the_next_window_and_interleave() -> None:
    order = Interleaved()
    order.add([segment("a", 0, 2), segment("c", 10, 12)])
    assert [each.text for each in order.before(5)] == ["a"]
    order.add([segment("b", 5, 6)])
    assert [each.text for each in order.before(float("inf"))] == ["b", "c"]


class Sentences(FakeStages):
    """Stages that make a sentence of each second of a window."""

    async def align(self, shared: object, window: Window, text: Any, options: Any, owner: str) -> Any:
        await super().align(shared, window, text, options, owner)
        return [segment(f"{at:g}.", at, at + 1) for at in np.arange(window.start_s, window.stop_s)]


def of_channels(*channels: Sequence[Window]) -> Any:
    """Hear given windows of each channel."""

    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        found = [(each, channel) for channel, windows in enumerate(channels) for each in windows]
        for each, channel in sorted(found, key=lambda pair: (pair[0].start, pair[1])):
            yield HeardWindow(each, sounds(each), channel)
        yield HeardEnd(30 * SAMPLE_RATE, ("doubtful",))

    return listen


async def transcribed(
    stages: FakeStages, listen: Any, options: RequestOptions = APART
) -> tuple[Transcript, list[Spoken]]:
    told: list[Any] = []
    pipeline = PresetPipeline(stages, listen, lambda file: silence(1))
    transcript = await asyncio.wait_for(pipeline.run(b"", options, told.append), 10)
    return transcript, [each for each in told if isinstance(each, Spoken)]


async def test_sentences_of_channels_interleave_and_bear_their_speakers() -> None:
    stages = Sentences(has_diarization=False)
    transcript, told = await transcribed(
        stages, of_channels([window(0, 3), window(8, 9)], [window(1, 2), window(4, 5)])
    )
    assert [(each.text, each.speaker) for each in transcript.segments] == [
        *[("0.", "A"), ("1.", "A"), ("1.", "B"), ("2.", "A"), ("4.", "B"), ("8.", "A")]
    ]
    assert {word.speaker for each in transcript.segments for word in each.words if each.speaker == "B"} == {"B"}
    assert transcript.turns[0] == SpeakerTurn(0, 1, "A")
    assert len(transcript.turns) == 6
    assert transcript.warnings == ("doubtful",)
    assert [each for event in told for each in event.segments] == list(transcript.segments)
    assert stages.calls("diarization") == stages.calls("clustering") == []


async def test_names_and_a_preset_without_alignment() -> None:
    stages = FakeStages(has_alignment=False, has_diarization=False)
    options = replace(APART, channel_names=("Ann", "Bob"))
    transcript, _ = await transcribed(stages, of_channels([window(0, 9)], [window(2, 3)]), options)
    assert [(each.start, each.end, each.speaker) for each in transcript.segments] == [(0, 9, "Ann"), (2, 3, "Bob")]


async def test_a_file_without_speech_has_no_speakers() -> None:
    transcript, told = await transcribed(FakeStages(), of_channels([], []))
    assert (transcript.segments, transcript.turns, told) == ((), (), [])


async def test_a_channel_that_fails_fails_the_request() -> None:
    stages = FakeStages(failures={"transcription": [None, BadRequest("no")]})
    with pytest.raises(BadRequest, match="no"):
        await transcribed(stages, of_channels([window(0, 3)], [window(1, 2)]))


@pytest.mark.parametrize("seconds", [3, 7.7])
def test_no_window_begins_before_the_horizon_that_was_told(data: Path, seconds: float) -> None:
    """What `ChannelListener` relies on, of the real model."""
    audio, step = decode((data / "two_minutes.flac").read_bytes()), round(seconds * SAMPLE_RATE)
    stream = SpeechFinder(VadArgs(window_s=10)).stream()
    told: list[int] = [0]
    for at in range(0, len(audio), step):
        for each, _ in stream.feed(Piece(at, audio[at : at + step])):
            assert each.start >= told[-1]
        told.append(stream.horizon)
    assert all(each.start >= told[-1] for each, _ in stream.close())
    assert all(before <= after for before, after in pairwise(told))
    assert told[-1] > 40 * SAMPLE_RATE


def two_voices(data: Path) -> tuple[bytes, Audio, Audio]:
    """A stereo file: three people in the left channel, and later one sentence in the right one, which ends later."""
    left, said = (decode((data / f"{name}.flac").read_bytes()) for name in ("three_speakers", "one_sentence"))
    right = np.concatenate([silence(20), said, silence(5), said])
    longest = max(len(left), len(right))
    return wav(np.stack([np.pad(each, (0, longest - len(each))) for each in (left, right)], axis=1)), left, right


def found_in(upload: bytes, channels: str) -> list[HeardWindow]:
    finder = SpeechFinder(VadArgs())
    listeners = Listeners(
        Listener(lambda upload, options: pieces(upload), lambda options: finder.stream(), stated_length),
        ChannelListener(lambda upload, options: channel_pieces(upload), lambda options: finder.stream(), stated_length),
    )
    options = replace(APART, channels=channels)
    return [each for each in listeners.listen(upload, options, Clock()) if isinstance(each, HeardWindow)]


def test_of_a_real_file_each_channel_is_heard_as_if_it_were_alone(data: Path) -> None:
    stereo, left, right = two_voices(data)
    heard = found_in(stereo, "separate")
    for channel, alone in enumerate((left, right)):
        windows = [each.window for each in heard if each.channel == channel]
        (padded,) = {len(each) for each in (left, right) if len(each) == max(len(left), len(right))}
        expected = [each.window for each in found_in(wav(np.pad(alone, (0, padded - len(alone)))), "mix")]
        assert windows == expected
        assert windows
    starts = [each.window.start for each in heard]
    assert starts == sorted(starts)
    assert {each.channel for each in found_in(stereo, "mix")} == {None}


def test_a_real_silent_channel_has_no_windows(data: Path) -> None:
    said = decode((data / "one_sentence.flac").read_bytes())
    heard = found_in(wav(np.stack([np.zeros_like(said), said], axis=1)), "separate")
    assert [each.channel for each in heard] == [1]


class Dying:
    """A handle of pipelines: the first dies after some events, the next one tells all of them."""

    def __init__(self, told: Sequence[Event], all_of_them: Sequence[Event]) -> None:
        self._answers = [[*told, ActorDiedError()], list(all_of_them)]
        self.stream = self

    def options(self, **options: Any) -> "Dying":
        return self

    def remote(self, parcel: Parcel, options: RequestOptions) -> "Dying":
        self._coming = iter(self._answers.pop(0))
        return self

    def cancel(self) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[Event]:
        for event in self._coming:
            if isinstance(event, Exception):
                raise event
            yield event


async def test_after_a_pipelines_death_nothing_of_any_channel_is_lost_or_told_twice() -> None:
    order = [segment("long", 0, 20, "A"), segment("short", 3, 4, "B"), segment("last", 21, 22, "A")]
    events = [Spoken((each,), "en") for each in order]
    streamed = FarPipelines("high", Dying(events[:1], events)).stream(Parcel("digest"), APART)
    told = [event.segments async for event in streamed if isinstance(event, Spoken)]
    assert [each.text for segments in told for each in segments] == ["long", "short", "last"]
