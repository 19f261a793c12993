"""One record a line: tab-separated segments, and the formats by which speech systems are scored."""

from serve_app.transcript import Transcript
from serve_app.wire.formats.layout import PLAIN, Layout


def to_tsv(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Start and end in milliseconds, and the text, as openai-whisper writes them."""
    rows = (
        f"{round(segment.start * 1000)}\t{round(segment.end * 1000)}\t{' '.join(segment.text.split())}\n"
        for segment in transcript.segments
    )
    return "".join(["start\tend\ttext\n", *rows])


def to_ctm(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """NIST's time-marked conversation: file, channel, start, duration, word, confidence.

    Words without times are left out. The confidence is the aligner's score; NA where it knows none of the letters.
    """
    return "".join(
        f"audio 1 {word.start:.3f} {word.end - word.start:.3f} {word.text} "
        f"{'NA' if word.score is None else f'{word.score:.3f}'}\n"
        for word in transcript.words
        if word.start is not None and word.end is not None
    )


def to_rttm(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Speaker turns as NIST's rich transcription time marks."""
    return "".join(
        f"SPEAKER audio 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in transcript.turns
    )
