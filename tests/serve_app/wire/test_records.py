"""Formats of one record a line, and openai-whisper's JSON."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes import segment

from serve_app.transcript import Segment, Transcript, Word
from serve_app.wire.formats import Layout
from serve_app.wire.formats.openai import to_verbose_json
from serve_app.wire.formats.records import to_ctm, to_tsv
from serve_app.wire.formats.whisper import to_whisper_json

SPOKEN = (Word("Hi", 0.5, 0.75, 0.9), Word("2014", 0.8, 1.2), Word("lost", None, None))
FILE = Transcript("en", 4.0, (Segment(0.5, 1.25, " Hi\t2014 lost", SPOKEN), segment("Bye.", 2.0, 3.0)))


def test_tsv_has_milliseconds_and_no_stray_tab() -> None:
    assert to_tsv(FILE) == "start\tend\ttext\n500\t1250\tHi 2014 lost\n2000\t3000\tBye.\n"


def test_ctm_has_what_was_placed_with_the_aligners_score() -> None:
    assert to_ctm(FILE).splitlines() == [
        "audio 1 0.500 0.250 Hi 0.900",
        "audio 1 0.800 0.400 2014 NA",
        "audio 1 2.000 1.000 Bye. 0.900",
    ]


@pytest.mark.parametrize("write", [to_whisper_json, to_verbose_json])
def test_doubtful_segments_are_marked(write: Callable[[Transcript], Any]) -> None:
    said = replace(FILE.segments[0], suspect=True)
    body = write(replace(FILE, segments=(said, *FILE.segments[1:])))
    assert [segment.get("suspect") for segment in body["segments"]] == [True, *[None] * len(FILE.segments[1:])]


def test_whisper_json_has_the_commands_fields() -> None:
    body: Any = to_whisper_json(FILE)
    assert body.keys() == {"text", "segments", "language"}
    assert body["segments"][0].keys() == {
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    }
    worded: Any = to_whisper_json(FILE, Layout(("word",)))
    assert worded["segments"][1]["words"] == [{"word": "Bye.", "start": 2.0, "end": 3.0, "probability": 0.9}]
