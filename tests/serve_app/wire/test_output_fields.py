"""How an answer is to look: what goes together, and what is refused by name."""

from typing import Any

import pytest

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.wire.formats import Layout
from serve_app.wire.output_fields import OutputFields


def fields(**values: Any) -> OutputFields:
    return OutputFields.model_validate(values)


def test_nothing_asked_is_plain() -> None:
    assert fields().layout() == Layout()
    assert not fields().wants_logprobs


def test_what_is_asked_arrives() -> None:
    asked = fields(
        response_format="srt", max_line_width=42, max_line_count=2, highlight_words=True, speaker_labels=False
    )
    assert asked.layout() == Layout((), 42, 2, None, True, False)
    assert fields(response_format="vtt", max_words_per_line=4).layout().max_words_per_line == 4
    assert fields(**{"include[]": ["logprobs"]}).layout().logprobs
    assert fields(**{"include[]": ["logprobs"]}).wants_logprobs
    assert fields(response_format="verbose_json", word_probabilities=True).wants_logprobs


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"max_line_width": 42}, "max_line_width"),
        ({"response_format": "verbose_json", "highlight_words": True}, "highlight_words"),
        ({"response_format": "tsv", "speaker_labels": False}, "speaker_labels"),
        ({"response_format": "srt", "max_line_count": 2}, "max_line_count"),
        ({"response_format": "srt", "max_line_width": 42, "max_words_per_line": 3}, "max_words_per_line"),
        ({"response_format": "srt", "timestamp_granularities[]": ["word"]}, "timestamp_granularities"),
        ({"response_format": "text", "include[]": ["logprobs"]}, "include"),
        ({"response_format": "ctm", "word_probabilities": True}, "word_probabilities"),
        ({"response_format": "json", "speaker_embeddings": True}, "speaker_embeddings"),
        ({"response_format": "srt", "speaker_embeddings": True}, "speaker_embeddings"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(values: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        fields(**values).layout()
    assert caught.value.param == param


@pytest.mark.parametrize("response_format", ["srt", "vtt", "verbose_json", "tsv", "ctm", "rttm", "whisper_json"])
def test_what_cannot_come_bit_by_bit_is_no_stream(response_format: str) -> None:
    with pytest.raises(UnsupportedOption) as caught:
        fields(response_format=response_format, stream=True).layout()
    assert caught.value.param == "stream"
