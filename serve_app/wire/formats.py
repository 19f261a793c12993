"""A Transcript as the client asked for it: json, text, srt, vtt, verbose_json, diarized_json or rttm."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from serve_app.speakers import by_speaker
from serve_app.transcript import Segment, Transcript, Word

Body = dict[str, Any] | str
"""A JSON object, or plain text."""


def to_json(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """`{"text", "usage"}`."""
    return {"text": transcript.text, "usage": _usage(transcript)}


def to_text(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """Return the text alone."""
    return transcript.text + "\n"


def to_srt(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """SubRip subtitles, one per segment; with a speaker prefix where speakers are known."""
    blocks = (
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{_line(segment)}\n"
        for number, segment in enumerate(_subtitles(transcript), start=1)
    )
    return "\n".join(blocks)


def to_vtt(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """WebVTT subtitles, one per segment; speakers as voice tags."""
    blocks = (
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{_voice(segment)}\n"
        for segment in _subtitles(transcript)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def to_verbose_json(transcript: Transcript, granularities: Sequence[str] = ("segment",)) -> Body:
    """OpenAI's verbose object; words and segments as asked for; speakers and warnings are additions of ours."""
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if "segment" in granularities:
        body["segments"] = [_segment(index, segment) for index, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        body["words"] = [_word(word) for word in transcript.words if word.start is not None]
    if transcript.warnings:
        body["warnings"] = list(transcript.warnings)
    return body


def to_diarized_json(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """OpenAI's diarized object: segments of one speaker each, named A, B, …"""
    return {
        "task": "transcribe",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": diarized_segments(transcript),
        "usage": _usage(transcript),
    }


def diarized_segments(transcript: Transcript) -> list[dict[str, Any]]:
    """Return OpenAI's segments of one speaker each; streams send them one by one."""
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{index}",
            "start": round(segment.start, 3),
            "end": round(segment.end, 3),
            "speaker": segment.speaker or "unknown",
            "text": segment.text,
        }
        for index, segment in enumerate(by_speaker(transcript.segments))
    ]


def to_rttm(transcript: Transcript, granularities: Sequence[str] = ()) -> Body:
    """Speaker turns as NIST's rich transcription time marks, one per line."""
    return "".join(
        f"SPEAKER audio 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in transcript.turns
    )


FORMATS: dict[str, Callable[[Transcript, Sequence[str]], Body]] = {
    "json": to_json,
    "text": to_text,
    "srt": to_srt,
    "vtt": to_vtt,
    "verbose_json": to_verbose_json,
    "diarized_json": to_diarized_json,
    "rttm": to_rttm,
}
"""`response_format` → the function that writes it."""


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    speaker = {"speaker": segment.speaker} if segment.speaker else {}
    return {
        "id": index,
        "seek": segment.seek,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        **speaker,
    }


def _word(word: Word) -> dict[str, Any]:
    extra = {"score": word.score, "speaker": word.speaker}
    present = {key: value for key, value in extra.items() if value is not None}
    return {"word": word.text, "start": word.start, "end": word.end, **present}


def _subtitles(transcript: Transcript) -> Sequence[Segment]:
    return by_speaker(transcript.segments) if transcript.turns else transcript.segments


def _line(segment: Segment) -> str:
    text = " ".join(segment.text.split())
    return f"[{segment.speaker}] {text}" if segment.speaker else text


def _voice(segment: Segment) -> str:
    text = escape(" ".join(segment.text.split()), quote=False)
    return f"<v {escape(segment.speaker, quote=False)}>{text}" if segment.speaker else text


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
