"""The pipeline over fake stages: what it asks of them, what it makes of their answers, and how it fails."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes import Call, FakeStages, silence, window

from serve_app.errors import NotAudio, PresetUnavailable, ReplicaLost, StageFailed, UnsupportedOption
from serve_app.options import DecodeOptions, RequestOptions, SpeakerOptions
from serve_app.pipeline import PresetPipeline, first_cause
from serve_app.retry import ATTEMPTS
from serve_app.stages import Audio
from serve_app.transcript import SpeakerTurn, Transcript
from serve_app.windows import Window

WINDOWS = [window(0, 4), window(5, 9), window(10, 18), window(20, 21)]
ENGLISH = RequestOptions(DecodeOptions(language="en"))
SPEAKERS = replace(ENGLISH, diarize=True)
TURNS = (SpeakerTurn(0, 9.5, "SPEAKER_01"), SpeakerTurn(9.5, 30, "SPEAKER_00"))


def pipeline(stages: FakeStages, windows: Sequence[Window] = WINDOWS, in_flight: int = 32) -> PresetPipeline:
    """A pipeline whose every upload is 30 s long with the given windows."""
    return PresetPipeline(stages, lambda upload: silence(30), lambda audio: windows, in_flight)


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


async def test_the_decoded_audio_is_shared_once() -> None:
    stages = FakeStages()
    await run(stages, SPEAKERS)
    assert [len(audio) for audio in stages.shared] == [30 * 16_000]


async def test_segments_stay_in_the_order_of_time_however_late_a_window_answers() -> None:
    late = asyncio.Event()
    stages = FakeStages(gates={WINDOWS[0]: late})
    task = asyncio.create_task(run(stages))
    await stages.until(lambda: len(stages.calls("alignment")) == 3 and len(stages.unfinished) == 1)
    late.set()
    assert [each.start for each in (await task).segments] == [0, 5, 10, 20]


async def test_a_window_is_aligned_as_soon_as_its_text_is_there() -> None:
    stages = FakeStages(gates={"alignment": asyncio.Event()})
    task = asyncio.create_task(run(stages, in_flight=1))
    await stages.until(lambda: len(stages.calls("alignment")) == 1)
    assert len(stages.calls("transcription")) == 1
    stages.gates["alignment"].set()
    await task


async def test_no_more_windows_are_under_way_than_allowed() -> None:
    stages = FakeStages()
    many = [window(i, i + 0.5) for i in range(25)]
    transcript = await run(stages, windows=many, in_flight=3)
    assert stages.most_at_once["transcription"] == 3
    assert len(transcript.segments) == 25


async def test_the_language_is_heard_once_in_the_longest_window_and_holds_for_all() -> None:
    stages = FakeStages(language="de", aligned_languages=frozenset({"de"}))
    transcript = await run(stages, RequestOptions())
    calls = stages.calls("transcription")
    assert calls[0] == Call("transcription", window(10, 18), DecodeOptions())
    assert {call.options for call in calls[1:]} == {DecodeOptions(language="de")}
    assert sorted(call.window.start for call in calls if call.window) == [each.start for each in WINDOWS]
    assert transcript.language == "de"


async def test_options_reach_the_stages() -> None:
    stages = FakeStages(turns=TURNS)
    decode = DecodeOptions("en", "transcribe", "Before.", "Ray", (0.3,), 2)
    await run(stages, RequestOptions(decode, True, True, SpeakerOptions(2, 1, 3)))
    assert {call.options for call in stages.calls("transcription")} == {decode}
    assert [call.options for call in stages.calls("diarization")] == [SpeakerOptions(2, 1, 3)]


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
    parts = {"decode", "vad", "transcription", "alignment", "diarization", "merge", "total"}
    sums = {"queue", "model"}
    assert timings.keys() == parts | sums
    assert all(0 <= timings[part] <= timings["total"] for part in parts)


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


async def test_speakers_asked_of_a_preset_without_diarization_are_refused_before_decoding() -> None:
    decoded: list[bytes] = []

    def decode(upload: bytes) -> Audio:
        decoded.append(upload)
        return silence(1)

    with pytest.raises(UnsupportedOption, match="use one with diarization") as caught:
        await PresetPipeline(FakeStages(has_diarization=False), decode, lambda audio: []).run(b"x", SPEAKERS)
    assert caught.value.param == "model"
    assert decoded == []


async def test_an_upload_that_is_no_audio_reaches_no_stage() -> None:
    def decode(upload: bytes) -> Audio:
        raise NotAudio("no audio", "file")

    stages = FakeStages()
    with pytest.raises(NotAudio):
        await PresetPipeline(stages, decode, lambda audio: WINDOWS).run(b"x", SPEAKERS)
    assert (stages.shared, stages.begun) == ([], [])


@pytest.mark.parametrize("stage", ["transcription", "alignment", "diarization"])
async def test_work_of_a_lost_replica_is_sent_again(stage: str) -> None:
    lost: list[Exception | None] = [ReplicaLost("gone")] * (ATTEMPTS - 1)
    stages = FakeStages(turns=TURNS, failures={stage: [*lost]})
    windows = WINDOWS[:1]
    assert shape(await run(stages, SPEAKERS, windows=windows)) == shape(
        await run(FakeStages(turns=TURNS), SPEAKERS, windows=windows)
    )
    assert len(stages.calls(stage)) == ATTEMPTS


@pytest.mark.parametrize("stage", ["transcription", "alignment", "diarization"])
async def test_work_that_loses_every_replica_is_given_up(stage: str) -> None:
    stages = FakeStages(failures={stage: [ReplicaLost("gone")] * ATTEMPTS})
    with pytest.raises(PresetUnavailable, match="gone") as caught:
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
