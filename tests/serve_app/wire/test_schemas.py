"""The form: OpenAI's fields become options, and what is not offered is refused by its name."""

from io import BytesIO
from typing import Any

import pytest
from fastapi import UploadFile
from pydantic import ValidationError

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.options import TEMPERATURES, DecodeOptions, Reference, RequestOptions, SpeakerOptions, SpeechOptions
from serve_app.wire.schemas import TranscriptionForm, TranslationForm

VOICE = "data:audio/wav;base64,AAEC"
ANN = {"known_speaker_names[]": ["Ann"], "known_speaker_references[]": [VOICE]}


def form(**fields: Any) -> TranscriptionForm:
    return TranscriptionForm.model_validate({"file": UploadFile(BytesIO(b"x")), **fields})


def test_a_file_is_enough() -> None:
    assert form().options() == RequestOptions(align=False)
    assert form().response_format == "json"


def test_every_field_reaches_its_stage() -> None:
    asked = form(
        **{
            "language": "de",
            "prompt": "Vorher.",
            "temperature": "0.4",
            "no_speech_threshold": "0.5",
            "keywords[]": ["Ray", "Serve"],
        },
        **{"diarize": "true", "num_speakers": "2", "min_speakers": "1", "max_speakers": "4"},
        response_format="verbose_json",
    )
    assert asked.options() == RequestOptions(
        decode=DecodeOptions("de", "transcribe", "Vorher.", "Ray, Serve", (0.4,), no_speech_threshold=0.5),
        align=True,
        diarize=True,
        speakers=SpeakerOptions(2, 1, 4),
    )


def test_a_beam_is_searched_where_nothing_is_sampled() -> None:
    assert form(beam_size="3").options().decode == DecodeOptions(beam_size=3)
    assert form(beam_size="3", temperature="0").options().decode == DecodeOptions(beam_size=3)


@pytest.mark.parametrize(
    ("given", "tried"),
    [
        ("0,0.4,0.8", (0.0, 0.4, 0.8)),
        ([0, 0.5], (0.0, 0.5)),
        (" 0.2, 0.6", (0.2, 0.6)),
        ("0.4", (0.4,)),
        (0, TEMPERATURES),
    ],
)
def test_several_temperatures_are_tried_in_turn_and_one_is_openais(given: Any, tried: tuple[float, ...]) -> None:
    assert form(temperature=given).options().decode.temperatures == tried


def test_a_list_with_zero_has_a_beam() -> None:
    assert form(temperature="0,0.4", beam_size="3").options().decode.beam_size == 3


def test_openai_whispers_name_of_the_prompt_is_known() -> None:
    assert form(initial_prompt="Before.").options() == form(prompt="Before.").options()


def test_options_can_be_keys_of_a_batch() -> None:
    assert hash(form(language="de").options()) == hash(form(language="de").options())


@pytest.mark.parametrize(
    ("response_format", "align", "diarize"),
    [
        ("json", False, False),
        ("text", False, False),
        ("srt", True, False),
        ("vtt", True, False),
        ("verbose_json", True, False),
        ("diarized_json", True, True),
        ("rttm", False, True),
    ],
)
def test_a_format_asks_for_the_stages_it_needs(response_format: str, align: bool, diarize: bool) -> None:
    options = form(response_format=response_format).options()
    assert (options.align, options.diarize) == (align, diarize)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"known_speaker_names[]": ["Ann"]}, "known_speaker_references"),
        ({"timestamp_granularities[]": ["word"]}, "timestamp_granularities"),
        ({"timestamp_granularities[]": ["word"], "response_format": "srt"}, "timestamp_granularities"),
        ({"response_format": "diarized_json", "diarize": "false"}, "diarize"),
        ({"response_format": "verbose_json", "speaker_embeddings": "true"}, "speaker_embeddings"),
        ({"multilingual": "true", "language": "en"}, "multilingual"),
        ({"beam_size": "3", "temperature": "0.4"}, "beam_size"),
        ({"beam_size": "3", "temperature": "0.2,0.4"}, "beam_size"),
        ({"prompt": "A.", "initial_prompt": "B."}, "initial_prompt"),
        ({"num_speakers": "2"}, "num_speakers"),
        ({"min_speakers": "2", "response_format": "srt"}, "min_speakers"),
        ({"max_speakers": "2", "diarize": "false", "response_format": "vtt"}, "max_speakers"),
        ({**ANN, "response_format": "verbose_json"}, "known_speaker_names"),
        ({**ANN, "diarize": "false"}, "known_speaker_names"),
        ({"known_speaker_references[]": [VOICE], "response_format": "srt"}, "known_speaker_references"),
        ({"diarize": "true"}, "diarize"),
        ({"diarize": "true", "response_format": "tsv"}, "diarize"),
        ({"diarize": "true", "response_format": "text", "stream": "true"}, "diarize"),
    ],
)
def test_options_that_do_not_go_together_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        form(**fields).options()
    assert caught.value.param == param
    assert param in str(caught.value)


@pytest.mark.parametrize("response_format", ["json", "text"])
def test_what_openai_takes_is_taken(response_format: str) -> None:
    options = form(**ANN, response_format=response_format).options()
    assert (options.diarize, [each.name for each in options.references]) == (False, ["Ann"])


def test_every_option_of_decoding_and_hearing_reaches_its_stage() -> None:
    options = form(
        **{"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.3"},
        **{"chunking_strategy[silence_duration_ms]": "700", "keywords[]": ["Ray"], "temperature": "0.4"},
        **{"known_speaker_names[]": ["Ann"], "known_speaker_references[]": ["data:audio/wav;base64,AAEC"]},
        prompt="Before.", hotwords="scribe", suppress_numerals="true", clip_timestamps="1,2.5,10", multilingual="true",
        logprob_threshold="-2", compression_ratio_threshold="3", no_speech_threshold="0.9",
    ).options()  # fmt: skip
    assert options.speech == SpeechOptions(onset=0.3, min_silence_ms=700)
    assert options.clips == ((1.0, 2.5), (10.0, None))
    assert options.references == (Reference("Ann", b"\x00\x01\x02"),)
    assert options.language_per_window
    assert options.decode == DecodeOptions(
        initial_prompt="Before.",
        hotwords="Ray, scribe",
        temperatures=(0.4,),
        suppress_numerals=True,
        logprob_threshold=-2,
        compression_ratio_threshold=3,
        no_speech_threshold=0.9,
    )
    assert form(chunking_strategy="server_vad").options().speech == SpeechOptions()
    assert form(chunking_strategy='{"type": "server_vad", "prefix_padding_ms": 80}').options().speech.pad_ms == 80


@pytest.mark.parametrize("url", ["AAEC", "data:audio/wav;base64,A", "http://host/voice.wav", "data:audio/wav,raw"])
def test_a_reference_is_a_data_url(url: str) -> None:
    with pytest.raises(BadRequest, match="the reference of 'Ann' is no data URL"):
        form(**{"known_speaker_names[]": ["Ann"], "known_speaker_references[]": [url]}).options()


def test_chunking_auto_is_what_happens_anyway() -> None:
    assert form(chunking_strategy="auto").options() == form().options()


def test_blank_fields_are_absent() -> None:
    blank = form(language="", prompt="", temperature="", response_format="", num_speakers="", diarize="", model="")
    assert blank.options() == RequestOptions(align=False)
    assert blank.model is None


@pytest.mark.parametrize("given", ["timestamp_granularities[]", "timestamp_granularities"])
def test_arrays_come_with_or_without_brackets(given: str) -> None:
    asked = form(**{given: ["word", "segment"], "response_format": "verbose_json"})
    assert asked.timestamp_granularities == ["word", "segment"]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"language": "english"}, "language"),
        ({"language": "EN"}, "language"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "0,1.5"}, "temperature"),
        ({"temperature": "0,,1"}, "temperature"),
        ({"temperature": ",".join(["0"] * 12)}, "temperature"),
        ({"response_format": "xml"}, "response_format"),
        ({"timestamp_granularities[]": ["letter"]}, "timestamp_granularities[]"),
        ({"num_speakers": "0"}, "num_speakers"),
        ({"max_speakers": "51"}, "max_speakers"),
        ({"beam_size": "0"}, "beam_size"),
        ({"diarize": "perhaps"}, "diarize"),
    ],
)
def test_a_wrong_value_is_refused_at_its_field(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as caught:
        form(**fields)
    assert [error["loc"][0] for error in caught.value.errors()] == [place]


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ValidationError, match="unknown key 'respons_format'; did you mean 'response_format'"):
        form(respons_format="srt")


def test_several_languages_are_told_apart_and_one_is_the_language() -> None:
    assert form(**{"languages[]": ["de", "en"]}).options().languages == ("de", "en")
    alone = form(**{"languages[]": ["de"]}).options()
    assert (alone.decode.language, alone.languages) == ("de", ())
    both = form(**{"languages[]": ["de", "en"]}, language="en").options()
    assert (both.decode.language, both.languages) == ("en", ())


@pytest.mark.parametrize("more", [{"language": "fr"}, {"multilingual": True}])
def test_languages_that_contradict_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        form(**{"languages[]": ["de", "en"]}, **more).options()
    assert caught.value.param == "languages"


def test_probabilities_are_computed_only_where_they_are_shown() -> None:
    assert not form().options().decode.token_probs
    assert form(**{"include[]": ["logprobs"]}).options().decode.token_probs


def test_the_words_of_a_translation_have_no_times() -> None:
    asked = {
        "file": UploadFile(BytesIO(b"x")),
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word"],
    }
    with pytest.raises(UnsupportedOption) as caught:
        TranslationForm.model_validate(asked).options()
    assert caught.value.param == "timestamp_granularities"


def test_channels_heard_apart_are_placed_and_named() -> None:
    apart = form(channels="separate", response_format="diarized_json", **{"known_speaker_names[]": ["Ann", "Bob"]})
    assert apart.options() == RequestOptions(channels="separate", channel_names=("Ann", "Bob"))
    text = form(channels="separate", diarize="false", response_format="rttm").options()
    assert (text.align, text.diarize, text.channel_names) == (True, False, ())
    assert form(channels="mix").options() == form().options()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"diarize": "true"}, "diarize"),
        ({"num_speakers": "2"}, "num_speakers"),
        ({"speaker_embeddings": "true", "response_format": "diarized_json"}, "speaker_embeddings"),
        (
            {"known_speaker_names[]": ["A"], "known_speaker_references[]": ["data:;base64,AAEC"]},
            "known_speaker_references",
        ),
    ],
)
def test_channels_heard_apart_need_no_other_way_to_tell_speakers(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest, match="does not go with channels=separate") as caught:
        form(channels="separate", **fields).options()
    assert caught.value.param == param


def test_a_form_has_a_file_or_names_one() -> None:
    assert TranscriptionForm.model_validate({"url": "https://a.example/b.wav"}).file is None
    with pytest.raises(BadRequest, match="'file' is required"):
        TranscriptionForm.model_validate({"url": ""})
    with pytest.raises(BadRequest, match="both given"):
        form(url="https://a.example/b.wav")
