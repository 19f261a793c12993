"""The unmodified OpenAI SDK as the judge of every answer and error; it validates strictly here."""

from dataclasses import replace
from typing import Any

import openai
import pytest
from fakes import FakePresets, segment

from serve_app import errors
from serve_app.options import Reference
from serve_app.transcript import Segment, SpeakerTurn, TokenLogprob, Transcript

FIRST = segment("Hello there.", 0.0, 2.0, "A")
FIRST = Segment(FIRST.start, FIRST.end, FIRST.text, FIRST.words, "A", 12, (7, 8), 0.2, -0.25, 0.9, 0.01)
TRANSCRIPT = Transcript(
    *("en", 4.2, (FIRST, segment("Bye.", 2.0, 4.0, "B"))),
    turns=(SpeakerTurn(0, 2, "A"), SpeakerTurn(2, 4, "B")),
    warnings=("an addition of ours",),
)


@pytest.fixture
def presets() -> FakePresets:
    return FakePresets(transcript=TRANSCRIPT)


async def create(sdk: openai.AsyncOpenAI, **options: Any) -> Any:
    return await sdk.audio.transcriptions.create(file=("clip.flac", b"sound"), **{"model": "fast", **options})


async def test_json(sdk: openai.AsyncOpenAI) -> None:
    answer = await create(sdk)
    assert type(answer).__name__ == "Transcription"
    assert (answer.text, answer.usage.type, answer.usage.seconds) == ("Hello there. Bye.", "duration", 5)


async def test_verbose_json_with_words_and_segments(sdk: openai.AsyncOpenAI) -> None:
    answer = await create(sdk, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert type(answer).__name__ == "TranscriptionVerbose"
    assert (answer.language, answer.duration, answer.text) == ("en", 4.2, "Hello there. Bye.")
    assert [(word.word, word.start, word.end) for word in answer.words] == [
        *(("Hello", 0.0, 1.0), ("there.", 1.0, 2.0), ("Bye.", 2.0, 4.0)),
    ]
    first, second = answer.segments
    assert (first.id, first.seek, first.start, first.end, first.text) == (0, 12, 0.0, 2.0, "Hello there.")
    assert (first.tokens, first.temperature, first.avg_logprob) == ([7, 8], 0.2, -0.25)
    assert (first.compression_ratio, first.no_speech_prob, second.id) == (0.9, 0.01, 1)


@pytest.mark.parametrize(("asked", "absent"), [("word", "segments"), ("segment", "words")])
async def test_verbose_json_leaves_out_what_was_not_asked_for(sdk: openai.AsyncOpenAI, asked: str, absent: str) -> None:
    answer = await create(sdk, response_format="verbose_json", timestamp_granularities=[asked])
    assert getattr(answer, absent) is None


async def test_known_speakers_and_how_speech_is_found_arrive_as_sent(
    sdk: openai.AsyncOpenAI, presets: FakePresets
) -> None:
    await create(
        sdk,
        response_format="diarized_json",
        chunking_strategy={"type": "server_vad", "threshold": 0.3, "prefix_padding_ms": 100},
        known_speaker_names=["Ann"],
        known_speaker_references=["data:audio/wav;base64,AA=="],
    )
    options = presets.asked[-1][2]
    assert (options.speech.onset, options.speech.pad_ms, options.speech.min_silence_ms) == (0.3, 100, None)
    assert options.references == (Reference("Ann", b"\0"),)


async def test_diarized_json(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    answer = await create(sdk, response_format="diarized_json", chunking_strategy="auto")
    assert type(answer).__name__ == "TranscriptionDiarized"
    assert (answer.task, answer.duration) == ("transcribe", 4.2)
    assert [(each.id, each.type, each.speaker, each.start, each.end, each.text) for each in answer.segments] == [
        ("seg_0", "transcript.text.segment", "A", 0.0, 2.0, "Hello there."),
        ("seg_1", "transcript.text.segment", "B", 2.0, 4.0, "Bye."),
    ]
    assert presets.asked[0][2].diarize


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        ("text", "Hello there. Bye.\n"),
        (
            "srt",
            "1\n00:00:00,000 --> 00:00:02,000\n[A] Hello there.\n\n2\n00:00:02,000 --> 00:00:04,000\n[B] Bye.\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n<v A>Hello there.\n\n00:00:02.000 --> 00:00:04.000\n<v B>Bye.\n",
        ),
    ],
)
async def test_plain_texts_are_strings(sdk: openai.AsyncOpenAI, response_format: Any, text: str) -> None:
    assert await create(sdk, response_format=response_format) == text


async def test_an_empty_transcript_parses(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    presets.transcript = Transcript("en", 3.0)
    for response_format in ("json", "verbose_json", "diarized_json"):
        assert (await create(sdk, response_format=response_format)).text == ""


async def test_options_arrive_as_the_sdk_writes_them(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    await create(
        sdk,
        **{"language": "de", "prompt": "Vorher.", "temperature": 0.5, "response_format": "verbose_json"},
        extra_body={"keywords": ["Ray", "Serve"], "diarize": True, "num_speakers": 2},
    )
    options = presets.asked[0][2]
    assert (options.decode.language, options.decode.initial_prompt) == ("de", "Vorher.")
    assert (options.decode.temperatures, options.decode.hotwords) == ((0.5,), "Ray, Serve")
    assert (options.diarize, options.speakers.num_speakers) == (True, 2)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"stream": True, "response_format": "srt"}, "stream"),
    ],
)
async def test_what_is_not_offered_is_a_bad_request_that_names_it(
    sdk: openai.AsyncOpenAI, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await create(sdk, **options)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_option")
    assert caught.value.type == "invalid_request_error"


async def test_timestamps_need_the_verbose_format(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format=verbose_json"):
        await create(sdk, timestamp_granularities=["word"])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (errors.NotAudio("no audio", "file"), openai.BadRequestError),
        (errors.UnknownPreset("no such preset", "model"), openai.NotFoundError),
        (errors.UploadTooLarge("too large", "file"), openai.APIStatusError),
        (errors.PresetUnavailable("asleep"), openai.InternalServerError),
        (errors.ReplicaLost("lost"), openai.InternalServerError),
        (errors.StageFailed("failed"), openai.InternalServerError),
        (KeyError("a bug"), openai.InternalServerError),
    ],
)
async def test_errors_raise_the_sdks_own_with_parameter_and_code(
    sdk: openai.AsyncOpenAI, presets: FakePresets, failure: Exception, expected: type[openai.APIStatusError]
) -> None:
    presets.failure = failure
    with pytest.raises(expected) as caught:
        await create(sdk)
    ours = failure if isinstance(failure, errors.RayscribeError) else errors.RayscribeError("an internal error")
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (ours.status, ours.code, ours.param)
    assert ours.message in caught.value.message


async def test_busy_is_tried_again_by_the_sdk_until_it_works(
    sdk: openai.AsyncOpenAI, presets: FakePresets, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def no_wait(seconds: float) -> None:
        waited.append(seconds)
        presets.failure = None

    monkeypatch.setattr("openai._base_client.anyio.sleep", no_wait)
    presets.failure = errors.ReplicaLost("lost")
    answer = await create(sdk.with_options(max_retries=2))
    assert answer.text == "Hello there. Bye."
    assert waited == [5]
    assert len(presets.asked) == 2


async def test_presets_are_models(sdk: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == ["fast", "premium"]
    assert (await sdk.models.retrieve("premium")).owned_by == "rayscribe"
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.models.retrieve("turbo")
    assert caught.value.code == "model_not_found"


async def test_log_probabilities_come_with_every_token(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    spoken = replace(FIRST, logprobs=(TokenLogprob("Hello", -0.25), TokenLogprob(" there.", -0.5)))
    presets.transcript = replace(TRANSCRIPT, segments=(spoken,))
    answer = await create(sdk, include=["logprobs"])
    assert [(each.token, each.logprob) for each in answer.logprobs] == [("Hello", -0.25), (" there.", -0.5)]
    assert bytes(map(int, answer.logprobs[1].bytes)) == b" there."
    assert presets.asked[0][2].decode.token_probs
    assert [language.code for language in answer.languages] == ["en"]


async def test_hints_of_languages_arrive(sdk: openai.AsyncOpenAI, presets: FakePresets) -> None:
    await create(sdk, languages=["de", "en"], keywords=["Ray"])
    assert presets.asked[0][2].languages == ("de", "en")


@pytest.mark.parametrize("response_format", ["json", "verbose_json"])
async def test_translations_are_in_english_and_say_so(
    sdk: openai.AsyncOpenAI, presets: FakePresets, response_format: Any
) -> None:
    presets.transcript = replace(TRANSCRIPT, language="de", task="translate")
    answer: Any = await sdk.audio.translations.create(
        model="fast", file=b"sound", response_format=response_format, prompt="Before.", temperature=0.2
    )
    assert answer.text == "Hello there. Bye."
    if response_format == "verbose_json":
        assert (answer.language, answer.duration, len(answer.segments)) == ("english", 4.2, 2)
    options = presets.asked[0][2]
    assert (options.decode.task, options.align, options.decode.initial_prompt) == ("translate", False, "Before.")


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
async def test_translations_come_as_plain_text_too(sdk: openai.AsyncOpenAI, response_format: Any) -> None:
    answer: Any = await sdk.audio.translations.create(model="fast", file=b"sound", response_format=response_format)
    assert isinstance(answer, str)
    assert "Hello there." in answer


async def test_a_translation_has_no_speakers_of_openais(sdk: openai.AsyncOpenAI) -> None:
    response_format: Any = "diarized_json"
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.audio.translations.create(model="fast", file=b"sound", response_format=response_format)
    assert caught.value.param == "response_format"
