"""Subtitles in every shape; where whisperx has the same option, its own writer is the judge."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from fakes import segment, words

from serve_app.transcript import Segment, Transcript, Word
from serve_app.wire.formats import Layout
from serve_app.wire.formats.cues import cues
from serve_app.wire.formats.subtitles import to_srt, to_vtt

TEXTS = [
    (0.0, 6.0, "The quick brown fox jumps over the lazy dog and runs away into the deep dark wood."),
    (6.5, 9.0, "Nobody saw it again."),
    (15.0, 18.0, "Until one fine day in late summer."),
]
FILE = Transcript("en", 20.0, tuple(segment(text, start, end) for start, end, text in TEXTS))
UNPLACED = replace(FILE.segments[0], words=(*FILE.segments[0].words[:3], Word("2014", None, None)))


def by_whisperx(transcript: Transcript, layout: Layout) -> str:
    """The SRT that whisperx writes of the same words."""
    from whisperx.utils import WriteSRT

    def word(each: Word) -> dict[str, Any]:
        placed = {"start": each.start, "end": each.end} if each.start is not None else {}
        return {"word": each.text, **placed}

    rows = [
        {"start": each.start, "end": each.end, "text": each.text, "words": [word(it) for it in each.words]}
        for each in transcript.segments
    ]
    options = {name: getattr(layout, name) for name in ("max_line_width", "max_line_count", "highlight_words")}
    written = StringIO()
    WriteSRT(".").write_result({"segments": rows, "language": transcript.language}, written, options)
    return written.getvalue()


@pytest.mark.parametrize("width", [20, 32, 42, 80])
@pytest.mark.parametrize("count", [None, 1, 2])
def test_lines_break_where_whisperx_breaks_them(width: int, count: int | None) -> None:
    """It does not count the spaces between words, so that its lines are longer than asked; ours are not."""
    layout = Layout(max_line_width=width, max_line_count=count)
    ours = to_srt(FILE, layout)
    assert max(len(line) for cue in cues(FILE, layout) for line in map(" ".join, cue.lines)) <= width
    theirs = by_whisperx(FILE, layout)
    assert " ".join(_text(ours).split()) == " ".join(_text(theirs).split())
    if count is None:
        assert ours.count("-->") == theirs.count("-->") == len(TEXTS)


def _text(srt: str) -> str:
    return "\n".join(line for line in srt.splitlines() if "-->" not in line and not line.isdigit())


def test_highlighted_words_are_whisperxs() -> None:
    short = replace(FILE, segments=FILE.segments[1:2])
    assert (
        to_srt(short, Layout(highlight_words=True)).strip() == by_whisperx(short, Layout(highlight_words=True)).strip()
    )


def test_text_flows_over_segments_but_not_over_a_pause() -> None:
    shown = [" / ".join(map(" ".join, cue.lines)) for cue in cues(FILE, Layout(max_line_width=42, max_line_count=2))]
    assert shown == [
        "The quick brown fox jumps over the lazy / dog and runs away into the deep dark wood.",
        "Nobody saw it again.",
        "Until one fine day in late summer.",
    ]


def test_so_many_words_per_subtitle() -> None:
    found = list(cues(FILE, Layout(max_words_per_line=5)))
    assert [len(cue.lines[0]) for cue in found] == [5, 5, 5, 2, 4, 5, 2]
    assert {len(cue.lines) for cue in found} == {1}
    assert [cue.start for cue in found] == sorted(cue.start for cue in found)
    assert (found[0].start, found[3].end, found[-1].end) == (0.0, 6.0, 18.0)


def test_a_subtitle_is_of_one_speaker_whose_name_can_be_left_out() -> None:
    spoken = tuple(replace(each, speaker=name) for each, name in zip(FILE.segments, "AAB", strict=True))
    both = replace(FILE, segments=tuple(_said_by(each) for each in spoken))
    layout = Layout(max_line_width=200, max_line_count=2)
    assert [cue.speaker for cue in cues(both, layout)] == ["A", "B"]
    assert to_srt(both, layout).count("[A]") == 1
    assert "[A]" not in to_srt(both, replace(layout, speaker_labels=False))
    assert "<v B>" in to_vtt(both, layout)


def _said_by(each: Segment) -> Segment:
    return replace(each, words=tuple(replace(word, speaker=each.speaker) for word in each.words))


def test_words_without_times_are_shown_with_their_neighbours() -> None:
    one = Transcript("en", 6.0, (UNPLACED,))
    (cue,) = cues(one, Layout(max_line_width=80))
    assert cue.lines == (("The", "quick", "brown", "2014"),)
    highlighted = to_srt(one, Layout(highlight_words=True))
    assert highlighted.count("<u>") == 3
    assert "<u>2014</u>" not in highlighted


def test_a_segment_whose_words_are_not_placed_has_its_own_times() -> None:
    bare = Transcript("en", 9.0, (Segment(1.0, 8.0, "No words were placed here."),))
    found = list(cues(bare, Layout(max_line_width=10)))
    assert [(cue.start, cue.end) for cue in found] == [(1.0, 8.0)]
    assert [len(" ".join(line)) <= 10 for line in found[0].lines] == [True] * len(found[0].lines)
    assert [cue.marked for cue in cues(bare, Layout(highlight_words=True))] == [None]


def test_a_language_without_spaces_has_none_put_in() -> None:
    text = "今日は天気がいいです"
    spoken = Transcript("ja", 5.0, (Segment(0.0, 5.0, text, words(" ".join(text), 0.0, 5.0)),))
    (cue,) = cues(spoken, Layout(max_line_width=4))
    assert ["".join(line) for line in cue.lines] == ["今日は天", "気がいい", "です"]
    assert "今日は天\n気がいい\nです" in to_srt(spoken, Layout(max_line_width=4))


def test_what_would_end_a_subtitle_is_written_otherwise() -> None:
    odd = Transcript("en", 1.0, (segment("a --> <b>", 0.0, 1.0),))
    assert "a -> <b>" in to_srt(odd)
    assert "a --&gt; <u>&lt;b&gt;</u>" in to_vtt(odd, Layout(highlight_words=True))
