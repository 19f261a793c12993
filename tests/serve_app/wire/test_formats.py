"""The six formats: exact text where a reader is strict, exact fields where OpenAI's SDK is."""

import json
import random
import re
from dataclasses import replace
from typing import Any, get_args

import pytest
from fakes import segment, words

from serve_app.speakers import assign
from serve_app.transcript import Segment, SpeakerTurn, Transcript, Word
from serve_app.wire import formats
from serve_app.wire.formats import FORMATS, Layout
from serve_app.wire.formats.openai import to_diarized_json, to_json, to_text, to_verbose_json
from serve_app.wire.formats.records import to_rttm
from serve_app.wire.formats.subtitles import to_srt, to_vtt
from serve_app.wire.output_fields import ResponseFormat

FIRST = Segment(
    0.0, 2.5, "Hello there.", words("Hello there.", 0.0, 2.5), None, 12, (7, 8), 0.2, -0.25, 0.9, 0.01
)  # fmt: skip
SECOND = segment("All is well.", 3661.0, 3663.0004)
PLAIN = Transcript("en", 3664.2, (FIRST, SECOND), timings={"total": 1.0})
TURNS = (SpeakerTurn(0, 1.2, "A"), SpeakerTurn(1.2, 3, "B"), SpeakerTurn(3600, 3664, "A"))
SPOKEN = replace(PLAIN, segments=assign(PLAIN.segments, TURNS), turns=TURNS)
EMPTY = Transcript("en", 1.01)


def test_every_documented_format_is_there() -> None:
    assert set(FORMATS) == set(get_args(ResponseFormat))
    assert {"json", "text", "srt", "verbose_json", "vtt", "diarized_json"} <= set(FORMATS)  # OpenAI's


def test_json() -> None:
    assert to_json(PLAIN) == {
        "text": "Hello there. All is well.",
        "languages": [{"code": "en"}],
        "usage": {"type": "duration", "seconds": 3665},
    }


@pytest.mark.parametrize("write", [to_json, to_verbose_json, to_diarized_json])
def test_usage_is_of_what_was_heard_of_the_file(write: formats.Callable[[Transcript], dict[str, Any]]) -> None:
    body = write(replace(PLAIN, clipped=3.2))
    assert body["usage"] == {"type": "duration", "seconds": 4}
    assert body.get("duration", 3664.2) == 3664.2


def test_text() -> None:
    assert to_text(PLAIN) == "Hello there. All is well.\n"


def test_srt() -> None:
    assert to_srt(PLAIN) == (
        "1\n00:00:00,000 --> 00:00:02,500\nHello there.\n\n2\n01:01:01,000 --> 01:01:03,000\nAll is well.\n"
    )


def test_vtt() -> None:
    assert to_vtt(PLAIN) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nHello there.\n\n01:01:01.000 --> 01:01:03.000\nAll is well.\n"
    )


def test_subtitles_are_cut_at_changes_of_speaker_and_name_them() -> None:
    assert to_srt(SPOKEN).split("\n")[:7] == [
        *("1", "00:00:00,000 --> 00:00:01,250", "[A] Hello", ""),
        *("2", "00:00:01,250 --> 00:00:02,500", "[B] there."),
    ]
    assert "00:00:01.250 --> 00:00:02.500\n<v B>there.\n" in str(to_vtt(SPOKEN))


def test_vtt_escapes_what_would_be_a_tag() -> None:
    body = to_vtt(Transcript("en", 1.0, (Segment(0, 1, "R&D <b> --> x"),)))
    assert "R&amp;D &lt;b&gt; --&gt; x\n" in str(body)


@pytest.mark.parametrize("write", [to_srt, to_vtt])
def test_a_subtitle_never_holds_an_empty_line(write: formats.Callable[[Transcript], formats.Body]) -> None:
    body = str(write(Transcript("en", 2.0, (Segment(0, 1, "one\n\ntwo"), Segment(1, 2, "three")))))
    assert "one two\n" in body


def test_nothing_heard_is_well_formed_in_every_format() -> None:
    assert to_srt(EMPTY) == ""
    assert to_vtt(EMPTY) == "WEBVTT\n"
    assert to_text(EMPTY) == "\n"
    usage = {"type": "duration", "seconds": 2}
    assert to_json(EMPTY) == {"text": "", "usage": usage}
    assert to_diarized_json(EMPTY) == {
        **{"task": "transcribe", "duration": 1.01, "text": "", "segments": [], "usage": usage}
    }


def test_verbose_json_has_all_of_the_decoders_figures() -> None:
    body = to_verbose_json(PLAIN)
    assert isinstance(body, dict)
    assert body.keys() == {"task", "language", "duration", "text", "usage", "segments"}
    assert (body["task"], body["language"], body["duration"]) == ("transcribe", "en", 3664.2)
    assert body["segments"][0] == {
        **{"id": 0, "seek": 12, "start": 0.0, "end": 2.5, "text": "Hello there.", "tokens": [7, 8]},
        **{"temperature": 0.2, "avg_logprob": -0.25, "compression_ratio": 0.9, "no_speech_prob": 0.01},
    }
    assert [each["id"] for each in body["segments"]] == [0, 1]


@pytest.mark.parametrize(
    ("asked", "keys"),
    [(["word"], {"words"}), (["segment"], {"segments"}), (["word", "segment"], {"words", "segments"})],
)
def test_verbose_json_holds_the_granularities_asked_for(asked: list[str], keys: set[str]) -> None:
    body = to_verbose_json(PLAIN, Layout(asked))
    assert isinstance(body, dict)
    assert body.keys() & {"words", "segments"} == keys


def test_words_have_times_scores_and_speakers_and_unplaced_ones_are_left_out() -> None:
    spoken = (Word("Yes", 0.1, 0.4, 0.75, "A"), Word("42", None, None), Word("no", 0.5, 0.6))
    body = to_verbose_json(Transcript("en", 1.0, (Segment(0, 1, "Yes 42 no", spoken),)), Layout(("word",)))
    assert isinstance(body, dict)
    assert body["words"] == [
        {"word": "Yes", "start": 0.1, "end": 0.4, "score": 0.75, "speaker": "A"},
        {"word": "no", "start": 0.5, "end": 0.6},
    ]


@pytest.mark.parametrize("name", ["json", "verbose_json", "diarized_json", "whisper_json"])
def test_every_json_says_what_was_left_undone(name: str) -> None:
    body = FORMATS[name](replace(PLAIN, warnings=("no aligner",)), Layout())
    assert isinstance(body, dict)
    assert body["warnings"] == ["no aligner"]
    assert "warnings" not in FORMATS[name](PLAIN, Layout())


def test_diarized_json_has_one_speaker_per_segment() -> None:
    body = to_diarized_json(SPOKEN)
    assert isinstance(body, dict)
    assert [(each["id"], each["speaker"], each["text"]) for each in body["segments"]] == [
        *(("seg_0", "A", "Hello"), ("seg_1", "B", "there."), ("seg_2", "A", "All is well.")),
    ]
    assert {each["type"] for each in body["segments"]} == {"transcript.text.segment"}
    assert body["text"] == "Hello there. All is well."
    assert body["usage"] == {"type": "duration", "seconds": 3665}


def test_rttm_has_a_line_per_turn_with_start_and_length() -> None:
    assert to_rttm(SPOKEN) == (
        "SPEAKER audio 1 0.000 1.200 <NA> <NA> A <NA> <NA>\n"
        "SPEAKER audio 1 1.200 1.800 <NA> <NA> B <NA> <NA>\n"
        "SPEAKER audio 1 3600.000 64.000 <NA> <NA> A <NA> <NA>\n"
    )
    assert to_rttm(PLAIN) == ""


@pytest.mark.parametrize("name", ["json", "verbose_json", "diarized_json"])
def test_json_formats_are_json(name: str) -> None:
    body = FORMATS[name](SPOKEN, Layout(("word", "segment")))
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [
        (0.0, "00:00:00,000"),
        (0.0004, "00:00:00,000"),
        (0.0006, "00:00:00,001"),
        (59.9996, "00:01:00,000"),
        (3599.9999, "01:00:00,000"),
        (3661.25, "01:01:01,250"),
        (100 * 3600 + 1.5, "100:00:01,500"),
    ],
)
def test_the_clock_carries_over(seconds: float, clock: str) -> None:
    assert (
        str(to_srt(Transcript("en", seconds, (Segment(seconds, seconds, "x"),)))).split("\n")[1][: len(clock)] == clock
    )


def read_clock(text: str) -> float:
    found = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})", text)
    assert found, text
    hours, minutes, seconds, milliseconds = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def test_every_time_is_read_back_within_half_a_millisecond() -> None:
    dice = random.Random(1)
    for _ in range(500):
        start = dice.choice([dice.uniform(0, 2), dice.uniform(0, 400_000), dice.randrange(3600) - 1e-6 + 1])
        end = start + dice.uniform(0, 30)
        line = str(to_srt(Transcript("en", end, (Segment(start, end, "x"),)))).split("\n")[1]
        read_start, read_end = map(read_clock, line.split(" --> "))
        assert abs(read_start - start) <= 0.000_501
        assert abs(read_end - end) <= 0.000_501
        assert read_start <= read_end
