"""The aligner on the demo model: held to whisperx's own `align`, and to texts of every kind."""

import gc
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.alignment import Placing
from serve_app.config import AlignmentArgs
from serve_app.models.aligner import Aligner
from serve_app.models.audio import decode
from serve_app.options import AlignOptions
from serve_app.stages import Audio, WindowText
from serve_app.transcript import Segment, Word
from serve_app.windows import SAMPLE_RATE, Window

ARGS = AlignmentArgs(models={"en": "demo-align"}, device="cpu", batch_size=4)
SAMPLES = ["ten_seconds", "three_speakers", "two_minutes"]
TOLERANCE_S = 0.020
LONGEST_S = 12.0


@pytest.fixture(scope="module")
def aligner(demo_models: Path) -> Aligner:
    return Aligner(demo_models / "align", ARGS, "en", 1)


@pytest.fixture(scope="module")
def theirs(demo_models: Path) -> Callable[[Placing], Any]:
    """whisperx as its README shows it, one window at a time."""
    from whisperx.alignment import align, load_align_model

    from benchmarks.in_process import private_copy

    tables = private_copy(demo_models / "align" / "nltk_data")
    model, metadata = load_align_model("en", "cpu", str(demo_models / "align"), model_cache_only=True)

    def place(placing: Placing) -> Any:
        whole = {"start": 0.0, "end": len(placing.clip) / SAMPLE_RATE, "text": placing.text.text}
        nltk.data.path.insert(0, tables.name)
        try:
            return align([whole], model, metadata, placing.clip.copy(), "cpu")["segments"]
        finally:
            nltk.data.path.remove(tables.name)

    return place


def windows(sample: Any) -> list[Placing]:
    """A file as windows of at most LONGEST_S, cut between words, each with what is said in it, in two sentences."""
    audio, words = decode(sample.path.read_bytes()), sample.reference["words"]
    groups: list[list[Any]] = [[]]
    for word in words:
        if groups[-1] and word["end"] - groups[-1][0]["start"] > LONGEST_S:
            groups.append([])
        groups[-1].append(word)
    return [window_of(audio, group) for group in groups]


def window_of(audio: Audio, words: Sequence[Any]) -> Placing:
    start, stop = int(words[0]["start"] * SAMPLE_RATE), min(int(words[-1]["end"] * SAMPLE_RATE) + 1600, len(audio))
    half = len(words) // 2
    sentences = (" ".join(word["text"] for word in part) for part in (words[:half], words[half:]))
    text = " ".join(f"{sentence.capitalize()}." for sentence in sentences if sentence)
    return Placing(audio[start:stop], Window(start, stop), WindowText(f" {text}", "en"))


@pytest.fixture(scope="module")
def spoken(sample: Any) -> list[Placing]:
    return [placing for name in SAMPLES for placing in windows(sample(name))]


@pytest.fixture(scope="module")
def short(spoken: list[Placing]) -> Placing:
    """Ten seconds of speech, whose words tests replace."""
    return spoken[0]


def with_text(placing: Placing, text: str, language: str = "en") -> Placing:
    return Placing(placing.clip, placing.window, WindowText(text, language))


def words_of(segments: Sequence[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words]


def test_windows_together_are_placed_as_whisperx_places_each_alone(
    aligner: Aligner, theirs: Callable[[Placing], Any], spoken: list[Placing]
) -> None:
    assert len({len(placing.clip) for placing in spoken}) > 8
    for placing, ours in zip(spoken, aligner.align(spoken), strict=True):
        wanted = theirs(placing)
        assert [segment.text for segment in ours] == [row["text"].strip() for row in wanted]
        rows = [word for row in wanted for word in row["words"]]
        assert [word.text for word in words_of(ours)] == [row["word"] for row in rows]
        for word, row in zip(words_of(ours), rows, strict=True):
            assert word.start == pytest.approx(placing.window.start_s + row["start"], abs=TOLERANCE_S)
            assert word.end == pytest.approx(placing.window.start_s + row["end"], abs=TOLERANCE_S)
            assert word.score == pytest.approx(row["score"], abs=0.01)


def test_words_are_where_they_were_said(aligner: Aligner, sample: Any) -> None:
    placed = [word for segments in aligner.align(windows(sample("two_minutes"))) for word in words_of(segments)]
    said = sample("two_minutes").reference["words"]
    errors = [abs(word.start - true["start"]) for word, true in zip(placed, said, strict=True)]
    assert np.median(errors) < 0.03
    assert np.percentile(errors, 90) < 0.1


def test_digits_and_symbols_are_where_they_were_said(aligner: Aligner, sample: Any) -> None:
    """Every fifth word is written in signs that the aligner does not know; it lies where the word was."""
    placed, said = [], sample("two_minutes").reference["words"]
    for placing in windows(sample("two_minutes")):
        words = placing.text.text.split()
        odd = " ".join("£13.60" if place % 5 == 2 else word for place, word in enumerate(words))
        placed += words_of(aligner.align([with_text(placing, odd)])[0])
    errors = [
        abs(word.start - true["start"])
        for word, true in zip(placed, said, strict=True)
        if word.text == "£13.60" and word.score is None
    ]
    assert len(errors) > 20
    assert np.median(errors) < 0.1


@pytest.mark.parametrize(
    "text",
    [
        "2014. he talks about the song",
        "he talks £13.60 about 2014. the song",
        "he talks about the song 5%",
        "42",
        "🎈",
        "🎈 he talks 👩‍👩‍👧 about the song 🎈",
        "你好 he talks about the 世界。",
        "he talks | about || the song |",
        "| | |",
        "— he\ttalks\nabout\u00a0the song…",
        "İstanbul ǅ ß ŉ he talks",
        'he said "talks." "--about the song" (no.) yes',
        "...",
    ],
)
@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_every_word_has_its_times(aligner: Aligner, short: Placing, text: str, method: Any) -> None:
    (segments,) = aligner.align([with_text(short, text)], AlignOptions(chars=True, interpolate_method=method))
    check(segments, with_text(short, text))
    unknown = [word for word in words_of(segments) if not any(c.isascii() and c.isalpha() for c in word.text)]
    assert {word.score for word in unknown if "|" not in word.text} <= {None}


def check(segments: Sequence[Segment], placing: Placing) -> None:
    """Nothing of the text is lost, and times are in order and inside the window."""
    text = placing.text.text
    assert "".join("".join(segment.text.split()) for segment in segments) == "".join(text.split())
    assert all(segment.text in text for segment in segments)
    for segment in segments:
        assert "".join("".join(word.text.split()) for word in segment.words) == "".join(segment.text.split())
        assert "".join(char.text for char in segment.chars) == segment.text
    in_order([(segment.start, segment.end) for segment in segments], placing.window)
    in_order([(word.start, word.end) for word in words_of(segments)], placing.window)
    chars = [char for segment in segments for char in segment.chars]
    in_order([(char.start, char.end) for char in chars if char.start is not None], placing.window)
    assert all((char.start is None) >= char.text.isspace() for char in chars)


def in_order(times: Sequence[tuple[Any, Any]], window: Window) -> None:
    for column in zip(*times, strict=True):
        assert list(column) == sorted(column)
        assert window.start_s <= column[0] <= column[-1] <= window.stop_s
    assert all(start <= end for start, end in times)


PIECES = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["he", "talks", "about", "2014.", "£13.60", "世界。", "🎈", "\n", "  ", "|", '"--', "Mr.", "la " * 90]
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.lists(PIECES, max_size=8).map(" ".join), min_size=1, max_size=4),
    samples=st.integers(0, 40_000),
    start=st.integers(0, 99_999),
)
def test_whatever_the_text_nothing_is_lost(
    aligner: Aligner, short: Placing, texts: list[str], samples: int, start: int
) -> None:
    window = Window(start, start + samples)
    batch = [Placing(short.clip[:samples], window, WindowText(text, "en")) for text in texts]
    for placing, segments in zip(batch, aligner.align(batch, AlignOptions(chars=True)), strict=True):
        check(segments, placing)


def test_a_text_longer_than_its_frames_shares_the_window(aligner: Aligner, short: Placing) -> None:
    window = Window(SAMPLE_RATE, 2 * SAMPLE_RATE)
    text = "la la la. " * 30
    placing = Placing(short.clip[:SAMPLE_RATE], window, WindowText(text, "en", tokens=(4, 5), token_ends=(6, 300)))
    ((segment,),) = aligner.align([placing])
    assert (segment.start, segment.end, segment.text, segment.tokens) == (1.0, 2.0, text.strip(), (4, 5))
    assert [word.text for word in segment.words] == text.split()
    assert {word.score for word in segment.words} == {None}
    in_order([(word.start, word.end) for word in segment.words], window)


def test_a_text_of_nothing_has_no_segments(aligner: Aligner, short: Placing) -> None:
    empty, spaces, more = aligner.align([with_text(short, text) for text in ("", " \n", "he")])
    assert (empty, spaces) == ([], [])
    assert [word.text for word in words_of(more)] == ["he"]
    assert aligner.align([]) == []


def test_characters_only_where_they_are_asked_for(aligner: Aligner, short: Placing) -> None:
    ((plain, *_),) = aligner.align([short])
    ((spelled, *_),) = aligner.align([short], AlignOptions(chars=True))
    assert (plain.chars, plain.words) == ((), spelled.words)
    word = spelled.words[0]
    letters = spelled.chars[: len(word.text)]
    assert "".join(char.text for char in letters) == word.text
    assert (letters[0].start, letters[-1].end) == (word.start, word.end)
    assert all(char.score is not None for char in letters)


def test_interpolation_may_be_left_out(aligner: Aligner, short: Placing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the aligner knows no character of has times of its own; only a bar, its sign for a space, never has."""
    monkeypatch.delitem(aligner._known, "|")
    placing = with_text(short, "he talks | about the song")
    (ignored,), (filled,) = (
        aligner.align([placing], AlignOptions(interpolate_method=m))[0] for m in ("ignore", "linear")
    )
    assert [word.text for word in ignored.words if word.start is None] == ["|"]
    assert ignored.words[1].start < filled.words[2].start < ignored.words[3].start  # type: ignore[operator]


def test_nothing_is_asked_of_the_network(
    aligner: Aligner, short: Placing, demo_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a library wants the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(nltk, "download", refuse)
    monkeypatch.setattr(nltk.data, "path", [])
    fresh = Aligner(demo_models / "align", ARGS, "fi", 1)
    assert fresh.align([short]) == aligner.align([short])


TWO_SENTENCES = "He talks to Dr. about. The song is nice."


@pytest.mark.parametrize(
    ("language", "tables", "sentences"),
    [
        ("de", {"english": "dr"}, ["He talks to Dr. about.", "The song is nice."]),
        ("de", {"english": "", "german": "dr"}, ["He talks to Dr. about.", "The song is nice."]),
        ("xx", {"english": "dr"}, ["He talks to Dr. about.", "The song is nice."]),
        ("en", {}, ["He talks to Dr.", "about.", "The song is nice."]),
    ],
)
def test_sentences_end_by_the_tables_of_the_language_or_of_english_or_by_none(
    demo_models: Path, tmp_path: Path, short: Placing, language: str, tables: dict[str, str], sentences: list[str]
) -> None:
    snapshot = tmp_path / "snapshot"
    shutil.copytree(demo_models / "align", snapshot, ignore=shutil.ignore_patterns("nltk_data"))
    for name, abbreviations in tables.items():
        folder = snapshot / "nltk_data/tokenizers/punkt_tab" / name
        folder.mkdir(parents=True)
        for file in ("collocations.tab", "sent_starters.txt", "ortho_context.tab"):
            (folder / file).touch()
        (folder / "abbrev_types.txt").write_text(abbreviations)
    (segments,) = Aligner(snapshot, ARGS, language, 1).align([with_text(short, TWO_SENTENCES, language)])
    assert [segment.text for segment in segments] == sentences
    assert nltk.data.path == [place for place in nltk.data.path if "snapshot" not in place]


def test_closing_gives_the_model_back(demo_models: Path) -> None:

    from transformers import Wav2Vec2ForCTC

    def models() -> int:
        gc.collect()
        return sum(type(each) is Wav2Vec2ForCTC for each in gc.get_objects())

    before = models()
    aligner = Aligner(demo_models / "align", ARGS, "en", 1)
    assert models() == before + 1
    gc.disable()  # so that closing itself has to collect
    try:
        aligner.close()
        assert sum(type(each) is Wav2Vec2ForCTC for each in gc.get_objects()) == before
    finally:
        gc.enable()
