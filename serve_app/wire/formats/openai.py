"""OpenAI's own objects: json, text, verbose_json and diarized_json."""

import math
from collections.abc import Iterable
from typing import Any

from serve_app.speakers import by_speaker
from serve_app.transcript import Segment, Transcript, Word
from serve_app.wire.formats.layout import PLAIN, Layout


def to_json(transcript: Transcript, layout: Layout = PLAIN) -> dict[str, Any]:
    """`{"text", "languages", "logprobs", "usage", "warnings"}`: text and usage always, the rest where there is any."""
    body: dict[str, Any] = {"text": transcript.text, **heard_languages(transcript), "usage": _usage(transcript)}
    body |= warnings(transcript)
    return {**body, "logprobs": token_logprobs(transcript.segments)} if layout.logprobs else body


def to_text(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Return the text alone."""
    return transcript.text + "\n"


def heard_languages(transcript: Transcript) -> dict[str, Any]:
    """Return OpenAI's list of languages, if anything was heard."""
    return {"languages": [{"code": transcript.language}]} if transcript.segments else {}


def warnings(transcript: Transcript) -> dict[str, Any]:
    """Return what was left undone or is doubtful, if anything."""
    return {"warnings": list(transcript.warnings)} if transcript.warnings else {}


def token_logprobs(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """Return the log-probabilities of all tokens in order."""
    return [
        {"token": token.text, "bytes": list(token.text.encode()), "logprob": round(token.logprob, 5)}
        for segment in segments
        for token in segment.logprobs
    ]


def to_verbose_json(transcript: Transcript, layout: Layout = PLAIN) -> dict[str, Any]:
    """OpenAI's verbose object; words and segments as asked for; speakers and warnings are additions of ours."""
    granularities = layout.granularities or ("segment",)
    body: dict[str, Any] = {
        "task": transcript.task,
        "language": "english" if transcript.task == "translate" else transcript.language,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if "segment" in granularities:
        body["segments"] = [segment_figures(index, segment) for index, segment in enumerate(transcript.segments)]
    if "word" in granularities:
        body["words"] = [_word(word) for word in transcript.words if word.start is not None]
    return {**body, **warnings(transcript), **speaker_embeddings(transcript, layout)}


def to_diarized_json(transcript: Transcript, layout: Layout = PLAIN) -> dict[str, Any]:
    """OpenAI's diarized object: segments of one speaker each, named A, B, …"""
    return {
        "task": "transcribe",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": diarized_segments(transcript),
        "usage": _usage(transcript),
        **warnings(transcript),
        **speaker_embeddings(transcript, layout),
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


def speaker_embeddings(transcript: Transcript, layout: Layout) -> dict[str, Any]:
    """Return each speaker's voice under whisperx's name, where these are to be written."""
    voices = {speaker: list(voice) for speaker, voice in transcript.voices.items()}
    return {"speaker_embeddings": voices} if layout.speaker_embeddings else {}


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.heard_s)}


def segment_figures(index: int, segment: Segment) -> dict[str, Any]:
    """Return a segment with the decoder's figures, as OpenAI and openai-whisper have it; speaker and doubt are ours."""
    speaker = {"speaker": segment.speaker} if segment.speaker else {}
    doubt = {"suspect": True} if segment.suspect else {}
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
        **doubt,
        **speaker,
    }


def _word(word: Word) -> dict[str, Any]:
    extra = {"score": word.score, "probability": word.probability, "speaker": word.speaker}
    present = {key: value for key, value in extra.items() if value is not None}
    return {"word": word.text, "start": word.start, "end": word.end, **present}
