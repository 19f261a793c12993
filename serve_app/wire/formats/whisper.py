"""The JSON that the `whisper` command writes, for those who read it already."""

from typing import Any

from serve_app.transcript import Segment, Transcript, Word
from serve_app.wire.formats.layout import PLAIN, Layout
from serve_app.wire.formats.openai import segment_figures, speaker_embeddings, warnings


def to_whisper_json(transcript: Transcript, layout: Layout = PLAIN) -> dict[str, Any]:
    """`{"text", "segments", "language"}`; words with granularity `word`; warnings, speakers, voices are ours."""
    words = "word" in layout.granularities
    segments = [_segment(index, segment, words) for index, segment in enumerate(transcript.segments)]
    body = {"text": transcript.text, "segments": segments, "language": transcript.language}
    return {**body, **warnings(transcript), **speaker_embeddings(transcript, layout)}


def _segment(index: int, segment: Segment, words: bool) -> dict[str, Any]:
    body = segment_figures(index, segment)
    return {**body, "words": [_word(word) for word in segment.words]} if words else body


def _word(word: Word) -> dict[str, Any]:
    probability = word.score if word.probability is None else word.probability
    return {"word": word.text, "start": word.start, "end": word.end, "probability": probability}
