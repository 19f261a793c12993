"""The pipeline over fake stages: what it asks of them, what it makes of their answers, and how it fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from fakes import Call, FakeStages, listener, silence, sounds, window

from serve_app.errors import NotAudio, PresetUnavailable, ReplicaLost, StageFailed, UnsupportedOption
from serve_app.events import Done, Event, Progress, Spoken
from serve_app.flow import Clock, Slots
from serve_app.listening import Heard, HeardEnd, HeardWindow, Upload
from serve_app.options import DecodeOptions, KnownSpeaker, Reference, RequestOptions, SpeakerOptions
from serve_app.pipeline import PresetPipeline, first_cause
from serve_app.retry import ATTEMPTS
from serve_app.stages import Audio
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.window_work import LISTEN_TO
from serve_app.windows import SAMPLE_RATE, Window

WINDOWS = [window(0, 4), window(5, 9), window(10, 18), window(20, 21)]
ENGLISH = RequestOptions(DecodeOptions(language="en"))
SPEAKERS = replace(ENGLISH, diarize=True)
TURNS = (SpeakerTurn(0, 9.5, "A"), SpeakerTurn(9.5, 30, "B"))


def no_reference(file: bytes) -> Audio:
    raise AssertionError("nobody gave a reference")


def pipeline(stages: FakeStages, windows: Sequence[Window] = WINDOWS, in_flight: int = 32) -> PresetPipeline:
    """A pipeline whose every upload is 30 s long with the given windows."""
    return PresetPipeline(stages, listener(windows), no_reference, in_flight)


async def run(stages: FakeStages, options: RequestOptions = ENGLISH, **made: Any) -> Transcript:
    return await asyncio.wait_for(pipeline(stages, **made).run(b"upload", options), 10)


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    """Every test ends without a task that still runs."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= {*before, asyncio.current_task()}


def shape(transcript: Transcript) -> Transcript:
    """A transcript without its timings."""
    return replace(transcript, timings={})


async def test_every_window_is_decoded_and_aligned_once_and_in_order() -> None:
    stages = FakeStages()
    transcript = await run(stages)
    assert transcript.text == " ".join(stages.say(each).strip() for each in WINDOWS)
    assert [(each.start, each.end) for each in transcript.segments] == [(0, 4), (5, 9), (10, 18), (20, 21)]
    assert [call.window for call in stages.calls("transcription")] == WINDOWS
    assert [call.window for call in stages.calls("alignment")] == WINDOWS
    assert stages.calls("diarization") == []
    assert (transcript.language, transcript.duration, transcript.warnings, transcript.turns) == ("en", 30.0, (), ())


async def test_of_a_file_of_which_clips_are_heard_both_lengths_are_told() -> None:
    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        yield HeardEnd(30 * SAMPLE_RATE, clipped=4 * SAMPLE_RATE)

    transcript = await PresetPipeline(FakeStages(), listen, no_reference).run(b"upload", ENGLISH)
    assert (transcript.duration, transcript.heard_s) == (30.0, 4.0)
    assert (await run(FakeStages())).heard_s == 30.0


async def test_each_window_and_each_block_is_shared_once() -> None:
    stages = FakeStages()
    await run(stages, SPEAKERS)
    shared = [tuple(samples.tolist()) for samples in stages.shared]
    assert shared == [(0, 30 * 16_000), *((each.start, each.stop) for each in WINDOWS)]


async def test_all_calls_of_a_request_bear_one_name_and_no_other_request_does() -> None:
    stages, other = FakeStages(turns=TURNS), FakeStages(turns=TURNS)
    await asyncio.gather(run(stages, SPEAKERS), run(other, SPEAKERS))
    owners = [{call.owner for call in each.begun} for each in (stages, other)]
    assert [len(each) for each in owners] == [1, 1]
    assert owners[0] != owners[1]


async def test_segments_are_told_in_the_order_of_time_while_later_windows_are_decoded() -> None:
    late = asyncio.Event()
    stages = FakeStages(gates={WINDOWS[2]: late})
    told: list[float] = []
    enough = asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Spoken):
            told.extend(each.start for each in event.segments)
        if len(told) == 2:
            enough.set()

    task = asyncio.create_task(pipeline(stages).run(b"upload", ENGLISH, tell))
    await asyncio.wait_for(enough.wait(), 10)
    await stages.until(lambda: len(stages.calls("alignment")) == 3)
    assert told == [0, 5]
    assert not task.done()
    late.set()
    assert [each.start for each in (await task).segments] == told == [0, 5, 10, 20]


async def streamed(stages: FakeStages, options: RequestOptions = ENGLISH) -> list[Event]:
    async with aclosing(pipeline(stages).stream(b"upload", options)) as events:
        return [event async for event in events]


async def test_a_stream_tells_what_run_returns() -> None:
    events = await streamed(FakeStages(turns=TURNS), SPEAKERS)
    spoken = [segment for event in events if isinstance(event, Spoken) for segment in event.segments]
    assert isinstance(events[-1], Done)
    assert shape(events[-1].transcript) == shape(await run(FakeStages(turns=TURNS), SPEAKERS))
    assert [each.text for each in spoken] == [each.text for each in events[-1].transcript.segments]
    assert {each.speaker for each in spoken} == {None}


async def test_progress_counts_all_there_is_and_all_that_is_done() -> None:
    progress = [event for event in await streamed(FakeStages(), SPEAKERS) if isinstance(event, Progress)]
    count = len(WINDOWS)
    assert progress[-1] == Progress(30.0, count, count, count, blocks=1, diarized=1, all_heard=True)
    for name in ("heard_s", "windows", "transcribed", "aligned", "blocks", "diarized"):
        values = [getattr(each, name) for each in progress]
        assert values == sorted(values)


async def test_a_stream_raises_what_run_raises() -> None:
    with pytest.raises(StageFailed, match="broken"):
        await streamed(FakeStages(failures={"transcription": [StageFailed("broken")]}))


async def test_a_stream_that_is_closed_leaves_no_work() -> None:
    stages = FakeStages(gates={"alignment": asyncio.Event()})
    events = pipeline(stages).stream(b"upload", ENGLISH)
    async for event in events:
        if isinstance(event, Progress) and event.transcribed:
            break
    await events.aclose()
    assert stages.unfinished == []


async def test_segments_stay_in_the_order_of_time_however_late_a_window_answers() -> None:
    late = asyncio.Event()
    stages = FakeStages(gates={WINDOWS[0]: late})
    task = asyncio.create_task(run(stages))
    await stages.until(lambda: len(stages.calls("alignment")) == 3 and len(stages.unfinished) == 1)
    late.set()
    assert [each.start for each in (await task).segments] == [0, 5, 10, 20]


async def test_a_window_is_aligned_as_soon_as_its_text_is_there_beside_the_next_ones_transcription() -> None:
    stages = FakeStages(gates={"alignment": asyncio.Event(), WINDOWS[1]: asyncio.Event()})
    task = asyncio.create_task(run(stages, in_flight=1))
    await stages.until(lambda: len(stages.calls("alignment")) == 1 and len(stages.calls("transcription")) == 2)
    for gate in stages.gates.values():
        gate.set()
    await task


async def test_transcription_waits_while_too_many_windows_wait_for_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.window_work.MOST_PLACED", 2)
    stages = FakeStages(gates={"alignment": asyncio.Event()})
    task = asyncio.create_task(run(stages, windows=[window(i, i + 0.5) for i in range(25)], in_flight=1))
    at_most = 2 + 2 + 2 * Slots.STEP  # those that are placed, the slots at first, and what the two hungry ones added
    await stages.until(lambda: len(stages.calls("transcription")) == at_most)
    assert (len(stages.calls("alignment")), len(stages.calls("transcription"))) == (2, at_most)
    stages.gates["alignment"].set()
    assert len((await task).segments) == 25


async def test_a_stage_of_many_replicas_is_filled_from_the_start() -> None:
    stages = FakeStages(gates={"transcription": asyncio.Event()}, copies=4)
    task = asyncio.create_task(run(stages, windows=[window(i, i + 0.5) for i in range(25)], in_flight=1))
    await stages.until(lambda: len(stages.calls("transcription")) == 8)
    stages.gates["transcription"].set()
    assert len((await task).segments) == 25


async def test_of_the_last_windows_the_longest_goes_first_and_segments_stay_in_order() -> None:
    many = [window(10 * at, 10 * at + length) for at, length in enumerate([3, 3, 3, 3, 1, 2])]
    stages = FakeStages(gates={each: asyncio.Event() for each in many[:4]}, copies=2)
    all_heard = asyncio.Event()

    def told(event: Event) -> None:
        if isinstance(event, Progress) and event.all_heard:
            all_heard.set()

    task = asyncio.create_task(pipeline(stages, many, 4).run(b"upload", ENGLISH, told))
    await asyncio.wait_for(all_heard.wait(), 10)
    stages.gates[many[0]].set()
    await stages.until(lambda: len(stages.calls("transcription")) == 6)
    assert [call.window for call in stages.calls("transcription")][4:] == [many[5], many[4]]
    for gate in stages.gates.values():
        gate.set()
    assert [each.start for each in (await task).segments] == [0, 10, 20, 30, 40, 50]


async def test_no_more_windows_are_under_way_than_allowed() -> None:
    stages = FakeStages()
    many = [window(i, i + 0.5) for i in range(25)]
    transcript = await run(stages, windows=many, in_flight=3)
    assert stages.most_at_once["transcription"] <= 3 * Slots.GROWTH
    assert len(transcript.segments) == 25


@pytest.mark.parametrize("count", [2, 3, 4])
async def test_the_language_is_heard_in_the_first_windows_and_holds_for_all(count: int) -> None:
    stages = FakeStages(language="de", aligned_languages=frozenset({"de"}))
    transcript = await run(stages, RequestOptions(), windows=WINDOWS[:count])
    assert [call.window for call in stages.calls("detection")] == WINDOWS[: min(count, LISTEN_TO)]
    assert {call.options for call in stages.calls("transcription")} == {DecodeOptions(language="de")}
    assert {call.window for call in stages.calls("transcription")} == set(WINDOWS[:count])
    assert len(transcript.segments) == count
    assert transcript.language == "de"


async def test_a_single_window_tells_its_language_while_it_is_decoded() -> None:
    stages = FakeStages(language="de")
    transcript = await run(stages, RequestOptions(), windows=WINDOWS[:1])
    assert stages.calls("detection") == []
    assert stages.calls("transcription") == [Call("transcription", WINDOWS[0], DecodeOptions())]
    assert transcript.language == "de"


async def test_a_language_for_each_window_is_heard_while_they_are_decoded() -> None:
    stages = FakeStages(language="de")
    transcript = await run(stages, RequestOptions(language_per_window=True))
    assert stages.calls("detection") == []
    assert {call.options for call in stages.calls("transcription")} == {DecodeOptions()}
    assert transcript.language == "de"


@pytest.mark.parametrize("replicas", [0, 1])
async def test_one_window_at_a_time_is_enough_to_hear_a_language(replicas: int) -> None:
    assert len((await run(FakeStages(copies=replicas), RequestOptions(), in_flight=1)).segments) == 4


async def test_windows_that_stay_below_the_thresholds_are_counted_in_a_warning() -> None:
    transcript = await run(FakeStages(suspect=WINDOWS[1:3]))
    assert transcript.warnings == (
        "2 of 4 windows stayed below the quality thresholds; their segments are marked suspect",
    )


@pytest.mark.parametrize("align", [False, True])
async def test_segments_of_windows_below_the_thresholds_are_marked(align: bool) -> None:
    transcript = await run(FakeStages(suspect=WINDOWS[1:3], turns=TURNS), RequestOptions(align=align, diarize=True))
    assert [segment.suspect for segment in transcript.segments] == [False, True, True, False]


async def test_blocks_of_a_long_file_are_heard_each_once_and_told_apart_in_their_order() -> None:
    late = asyncio.Event()
    stages = FakeStages(turns=TURNS, gates={Window(0, 70 * SAMPLE_RATE): late})
    made = PresetPipeline(stages, listener(WINDOWS, seconds=300), no_reference)
    task = asyncio.create_task(made.run(b"upload", SPEAKERS))
    await stages.until(lambda: len(stages.calls("diarization")) >= 4)
    assert stages.calls("clustering") == []
    late.set()
    assert [each.speaker for each in (await task).segments] == ["A", "A", "B", "B"]
    assert stages.voices == [0, 60, 120, 180, 240]


async def test_options_reach_the_stages() -> None:
    stages = FakeStages(turns=TURNS)
    decode = DecodeOptions("en", "transcribe", "Before.", "Ray", (0.3,), 2)
    await run(stages, RequestOptions(decode, True, True, SpeakerOptions(2, 1, 3)))
    assert {call.options for call in stages.calls("transcription")} == {decode}
    assert [call.options for call in stages.calls("clustering")] == [SpeakerOptions(2, 1, 3)]


async def test_words_and_segments_get_the_speaker_heard_in_them() -> None:
    transcript = await run(FakeStages(turns=TURNS), SPEAKERS)
    assert [each.speaker for each in transcript.segments] == ["A", "A", "B", "B"]
    assert all(word.speaker == each.speaker for each in transcript.segments for word in each.words)
    assert transcript.turns == (SpeakerTurn(0, 9.5, "A"), SpeakerTurn(9.5, 30, "B"))


async def test_speakers_are_heard_beside_the_transcription() -> None:
    stages = FakeStages(gates={"transcription": asyncio.Event(), "diarization": asyncio.Event()})
    task = asyncio.create_task(run(stages, SPEAKERS))
    await stages.until(lambda: {call.stage for call in stages.unfinished} == {"transcription", "diarization"})
    for gate in stages.gates.values():
        gate.set()
    await task


async def test_timings_name_every_part() -> None:
    timings = (await run(FakeStages(turns=TURNS), SPEAKERS)).timings
    parts = {"transcription", "alignment", "diarization", "merge", "total"}
    sums = {"decode", "vad", "queue", "model"}
    assert timings.keys() == parts | sums
    assert all(0 <= timings[part] <= timings["total"] for part in parts)
    assert (timings["queue"], timings["model"]) == (0, pytest.approx(0.1 * len(WINDOWS)))


async def test_without_words_wanted_nothing_is_aligned() -> None:
    stages = FakeStages()
    transcript = await run(stages, replace(ENGLISH, align=False))
    assert stages.calls("alignment") == []
    first = transcript.segments[2]
    assert (first.text, first.words, first.seek) == ("Heard from 10 to 18.", (), 1000)
    assert (first.tokens, first.avg_logprob) == ((1, 2), -0.25)


async def test_a_translation_is_not_aligned() -> None:
    stages = FakeStages()
    await run(stages, RequestOptions(DecodeOptions(language="de", task="translate")))
    assert stages.calls("alignment") == []


async def test_a_language_without_aligner_gives_plain_segments_and_one_warning() -> None:
    transcript = await run(FakeStages(), RequestOptions(DecodeOptions(language="fi")))
    assert transcript.warnings == ("no aligner for language 'fi': times are those of segments, not of words",)
    assert [(each.start, each.end, each.words) for each in transcript.segments[:2]] == [(0, 4, ()), (5, 9, ())]
    assert transcript.text.startswith("Heard from 0 to 4. Heard from 5 to 9.")


async def test_words_wanted_of_a_preset_without_alignment_are_a_warning() -> None:
    stages = FakeStages(has_alignment=False)
    transcript = await run(stages)
    assert stages.calls("alignment") == []
    assert len(transcript.segments) == 4
    assert transcript.warnings == ("this preset has no alignment: times are those of segments, not of words",)
    assert (await run(stages, replace(ENGLISH, align=False))).warnings == ()


async def test_windows_in_which_nothing_is_heard_leave_no_segment() -> None:
    stages = FakeStages(say=lambda each: "  " if each.start else " Yes.")
    transcript = await run(stages)
    assert [each.text for each in transcript.segments] == ["Yes."]
    assert len(stages.calls("alignment")) == 1


@pytest.mark.parametrize("options", [SPEAKERS, RequestOptions(diarize=True)])
async def test_without_speech_the_transcript_is_empty_and_speakers_are_not_waited_for(
    options: RequestOptions,
) -> None:
    stages = FakeStages(gates={"diarization": asyncio.Event()})
    transcript = await run(stages, options, windows=[])
    assert shape(transcript) == Transcript("en", 30.0)
    assert stages.calls("transcription") == []
    assert stages.unfinished == []


async def test_speakers_without_text_are_not_waited_for() -> None:
    stages = FakeStages(say=lambda each: " ", gates={"diarization": asyncio.Event()})
    assert (await run(stages, SPEAKERS)).segments == ()
    assert stages.unfinished == []


async def test_voices_of_references_reach_the_clustering_and_embeddings_come_back_if_wanted() -> None:
    stages, decoded = FakeStages(turns=TURNS), list[bytes]()

    def decode(file: bytes) -> Audio:
        decoded.append(file)
        return silence(3)

    made = PresetPipeline(stages, listener(WINDOWS), decode)
    options = replace(SPEAKERS, references=(Reference("Ann", b"her voice"),))
    transcript = await made.run(b"upload", replace(options, speakers=SpeakerOptions(embeddings=True)))
    assert decoded == [b"her voice"]
    known = (KnownSpeaker("Ann", (1.0, 0.0)),)
    assert [call.options for call in stages.calls("clustering")] == [SpeakerOptions(known=known, embeddings=True)]
    assert transcript.voices == {"A": (1.0, 0.0)}
    assert (await made.run(b"upload", options)).voices == {}
    assert (await made.run(b"upload", replace(options, diarize=False))).turns == ()
    assert len(decoded) == 2


async def test_speakers_asked_of_a_preset_without_diarization_are_refused_before_decoding() -> None:
    heard: list[Upload] = []

    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        heard.append(upload)
        yield HeardEnd(16_000)

    with pytest.raises(UnsupportedOption, match="use one with diarization") as caught:
        await PresetPipeline(FakeStages(has_diarization=False), listen, no_reference).run(b"x", SPEAKERS)
    assert caught.value.param == "model"
    assert heard == []


async def test_an_upload_that_is_no_audio_reaches_no_stage() -> None:
    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        raise NotAudio("no audio", "file")
        yield

    stages = FakeStages()
    with pytest.raises(NotAudio):
        await PresetPipeline(stages, listen, no_reference).run(b"x", SPEAKERS)
    assert (stages.shared, stages.begun) == ([], [])


async def test_a_file_that_turns_out_damaged_ends_the_work_on_what_was_heard() -> None:
    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        yield from listener(WINDOWS)(upload, options, clock)
        raise NotAudio("it breaks off", "file")

    stages = FakeStages(gates={"transcription": asyncio.Event()})
    with pytest.raises(NotAudio):
        await PresetPipeline(stages, listen, no_reference).run(b"x", SPEAKERS)
    assert stages.unfinished == []


async def test_what_is_heard_waits_for_room_and_ends_with_the_client() -> None:
    made, closed = 0, threading.Event()

    def listen(upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        nonlocal made
        try:
            for index in range(1000):
                made += 1
                yield HeardWindow(window(index, index + 1), sounds(window(index, index + 1)))
        finally:
            closed.set()

    stages = FakeStages(gates={"transcription": asyncio.Event()})
    task = asyncio.create_task(PresetPipeline(stages, listen, no_reference, 4).run(b"x", ENGLISH))
    await stages.until(lambda: len(stages.calls("transcription")) == 4)
    task.cancel()
    await asyncio.wait([task])
    assert made <= 6
    assert await asyncio.to_thread(closed.wait, 10)


@pytest.mark.parametrize("stage", ["transcription", "alignment", "diarization", "clustering"])
async def test_work_of_a_lost_replica_is_sent_again(stage: str) -> None:
    lost: list[Exception | None] = [ReplicaLost("gone")] * (ATTEMPTS - 1)
    stages = FakeStages(turns=TURNS, failures={stage: [*lost]})
    windows = WINDOWS[:1]
    assert shape(await run(stages, SPEAKERS, windows=windows)) == shape(
        await run(FakeStages(turns=TURNS), SPEAKERS, windows=windows)
    )
    assert len(stages.calls(stage)) == ATTEMPTS


@pytest.mark.parametrize("stage", ["transcription", "alignment", "diarization", "clustering"])
async def test_work_that_loses_every_replica_is_given_up(stage: str) -> None:
    stages = FakeStages(failures={stage: [ReplicaLost("gone")] * ATTEMPTS})
    with pytest.raises(PresetUnavailable, match=rf"gone \({ATTEMPTS} times in a row\)") as caught:
        await run(stages, SPEAKERS, windows=WINDOWS[:1])
    assert not isinstance(caught.value, ReplicaLost)  # or the gateway would send the whole file again
    assert len(stages.calls(stage)) == ATTEMPTS
    assert stages.unfinished == []


async def test_a_failed_stage_is_not_asked_again() -> None:
    stages = FakeStages(failures={"transcription": [StageFailed("out of memory")]})
    with pytest.raises(StageFailed, match="out of memory"):
        await run(stages, windows=WINDOWS[:1])
    assert len(stages.calls("transcription")) == 1


@pytest.mark.parametrize("error", [StageFailed("no turns"), ValueError("a bug")])
async def test_an_error_in_diarization_stops_the_windows_and_surfaces_itself(error: Exception) -> None:
    stages = FakeStages(failures={"diarization": [error]}, gates={"transcription": asyncio.Event()})
    with pytest.raises(type(error)) as caught:
        await run(stages, SPEAKERS, in_flight=2)
    assert caught.value is error
    assert stages.unfinished == []
    assert len(stages.calls("transcription")) <= 2


async def test_an_error_in_one_window_stops_the_others_and_the_diarization() -> None:
    error = StageFailed("out of memory")
    stages = FakeStages(failures={"alignment": [None, error]}, gates={"diarization": asyncio.Event()}, turns=TURNS)
    with pytest.raises(StageFailed) as caught:
        await run(stages, SPEAKERS, in_flight=1)
    assert caught.value is error
    assert stages.unfinished == []
    assert len(stages.calls("alignment")) == 2


@pytest.mark.parametrize("held", [{"transcription"}, {"alignment"}, {"transcription", "diarization"}, {"diarization"}])
@pytest.mark.parametrize("options", [SPEAKERS, RequestOptions(diarize=True)])
async def test_when_the_client_goes_all_work_ends(held: set[str], options: RequestOptions) -> None:
    gates = {stage: asyncio.Event() for stage in held}
    stages = FakeStages(gates=gates, turns=TURNS)
    task = asyncio.create_task(pipeline(stages, in_flight=2).run(b"upload", options))
    await stages.until(lambda: {call.stage for call in stages.unfinished} >= held)
    task.cancel()
    await asyncio.wait([task])
    begun = len(stages.begun)
    assert task.cancelled()
    assert stages.unfinished == []
    for gate in gates.values():
        gate.set()
    await asyncio.sleep(0)
    assert len(stages.begun) == begun


async def test_many_requests_at_once_get_each_their_own() -> None:
    stages = FakeStages(turns=TURNS)
    asked = [[window(i, i + 1), window(i + 1, i + 2)] for i in range(10)]
    made = await asyncio.gather(*(run(stages, windows=windows) for windows in asked))
    assert [each.segments[0].start for each in made] == list(range(10))


def test_the_first_cause_is_found_inside_nested_groups() -> None:
    first, second = ValueError("first"), ValueError("second")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [first, second]), second])
    assert first_cause(group) is first
    assert first_cause(second) is second


@pytest.mark.parametrize("windows", [WINDOWS, WINDOWS[:1]])
async def test_a_file_is_decoded_in_one_of_the_languages_that_it_may_be_in(windows: list[Window]) -> None:
    stages = FakeStages()
    await run(stages, RequestOptions(languages=("xx", "yy")), windows=windows)
    decoded = [
        call.options.language for call in stages.calls("transcription") if isinstance(call.options, DecodeOptions)
    ]
    assert decoded == ["xx"] * len(windows)
