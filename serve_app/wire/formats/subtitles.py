"""SubRip and WebVTT."""

from html import escape

from serve_app.transcript import Transcript
from serve_app.wire.formats.cues import Cue, cues
from serve_app.wire.formats.layout import PLAIN, Layout


def to_srt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """SubRip subtitles; with a speaker prefix where speakers are known."""
    blocks = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_srt_text(cue)}\n"
        for number, cue in enumerate(cues(transcript, layout), start=1)
    )
    return "\n".join(blocks)


def to_vtt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """WebVTT subtitles; speakers as voice tags."""
    blocks = (
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_vtt_text(cue)}\n" for cue in cues(transcript, layout)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def _srt_text(cue: Cue) -> str:
    text = _lines(cue, [[word.replace("-->", "->") for word in line] for line in cue.lines])
    return f"[{cue.speaker}] {text}" if cue.speaker else text


def _vtt_text(cue: Cue) -> str:
    text = _lines(cue, [[escape(word, quote=False) for word in line] for line in cue.lines])
    return f"<v {escape(cue.speaker, quote=False)}>{text}" if cue.speaker else text


def _lines(cue: Cue, lines: list[list[str]]) -> str:
    if cue.marked:
        row, place = cue.marked
        lines[row][place] = f"<u>{lines[row][place]}</u>"
    return "\n".join(cue.between.join(line) for line in lines)


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
