"""Speech windows: none where nobody speaks, all words inside where somebody does."""

import json
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve_app.config import VadArgs
from serve_app.models import vad
from serve_app.models.audio import decode, pieces
from serve_app.models.vad import Detector, SpeechFinder, SpeechStream, SpeechWindows, pyannote, silero
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE, Window, pack

Found = list[tuple[Window, Audio]]


@pytest.fixture(scope="module")
def find() -> SpeechWindows:
    return SpeechWindows(VadArgs())


@pytest.mark.parametrize("name", ["silence", "noise", "tones"])
def test_no_speech_makes_no_windows(data: Path, find: SpeechWindows, name: str) -> None:
    assert find(decode((data / f"{name}.flac").read_bytes())) == []


@pytest.mark.parametrize("samples", [0, 1, 100, 511])
def test_very_short_audio_makes_no_windows(find: SpeechWindows, samples: int) -> None:
    assert find(np.zeros(samples, np.float32)) == []


@pytest.mark.parametrize("name", ["one_sentence", "ten_seconds", "three_speakers", "two_minutes"])
@pytest.mark.parametrize("window_s", [30.0, 10.0])
def test_windows_are_ordered_short_enough_and_inside_the_file(data: Path, name: str, window_s: float) -> None:
    audio = decode((data / f"{name}.flac").read_bytes())
    windows = SpeechWindows(VadArgs(window_s=window_s))(audio)
    assert windows
    assert windows[0].start >= 0
    assert windows[-1].stop <= len(audio)
    assert all(0 < each.stop - each.start <= window_s * SAMPLE_RATE for each in windows)
    assert all(before.stop <= after.start for before, after in pairwise(windows))


@pytest.mark.parametrize("name", ["one_sentence", "ten_seconds", "three_speakers", "two_minutes"])
def test_nearly_every_word_lies_inside_a_window(data: Path, find: SpeechWindows, name: str) -> None:
    windows = find(decode((data / f"{name}.flac").read_bytes()))
    spoken = json.loads((data / f"{name}.json").read_text())["words"]
    middles = [(word["start"] + word["end"]) / 2 for word in spoken]
    inside = sum(any(each.start_s <= middle <= each.stop_s for each in windows) for middle in middles)
    assert inside / len(middles) > 0.9


def test_a_higher_threshold_finds_no_more_speech(data: Path) -> None:
    audio = decode((data / "ten_seconds.flac").read_bytes())
    found = [
        sum(each.stop - each.start for each in SpeechWindows(VadArgs(onset=threshold, window_s=30))(audio))
        for threshold in (0.1, 0.5, 0.9)
    ]
    assert found[0] >= found[1] >= found[2]


def listen(stream: SpeechStream, heard: list[Piece]) -> Found:
    """All windows of a stream, in the order in which they came."""
    found = [window for piece in heard for window in stream.feed(piece)]
    return found + stream.close()


def split(audio: Audio, cuts: list[int]) -> list[Piece]:
    """Pieces of a file, cut at any samples."""
    edges = sorted({0, len(audio), *(cut % (len(audio) + 1) for cut in cuts)})
    return [Piece(start, audio[start:stop]) for start, stop in pairwise(edges)]


def mask(windows: list[Window], length: int) -> np.ndarray:
    heard = np.zeros(length, bool)
    for each in windows:
        heard[each.start : each.stop] = True
    return heard


def check(found: Found, audio: Audio, options: VadArgs) -> None:
    """What must hold of all windows: ordered, apart, short enough, with their own samples, read-only."""
    windows = [window for window, _ in found]
    assert all(before.stop <= after.start for before, after in pairwise(windows))
    assert all(0 < each.stop - each.start <= options.window_s * SAMPLE_RATE for each in windows)
    for window, samples in found:
        np.testing.assert_array_equal(samples, audio[window.start : window.stop])
        assert samples.dtype == np.float32
        assert not samples.flags.writeable


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seams every few seconds instead of every few minutes."""
    monkeypatch.setattr(vad, "FIRST", 3 * SAMPLE_RATE)
    monkeypatch.setattr(vad, "LONGEST", 7 * SAMPLE_RATE)
    monkeypatch.setattr(vad, "CONTEXT", vad.CONTEXT)


def loud(options: VadArgs) -> Detector:
    """Speech is what is loud, frame by frame, without memory: what a stream finds must be exactly what is there."""
    silence, shortest, pad = (
        value * SAMPLE_RATE // 1000 for value in (options.min_silence_ms, options.min_speech_ms, options.pad_ms)
    )

    def find(audio: Audio) -> list[Window]:
        frames = [bool(np.abs(audio[at : at + 512]).max() > 0.5) for at in range(0, len(audio) - 511, 512)]
        found: list[Window] = []
        for at in (512 * index for index, is_loud in enumerate(frames) if is_loud):
            if found and at - found[-1].stop <= silence:
                found[-1] = Window(found[-1].start, at + 512)
            else:
                found.append(Window(at, at + 512))
        found = [each for each in found if each.stop - each.start > shortest]
        return [Window(max(0, each.start - pad), min(len(audio), each.stop + pad)) for each in found]

    return Detector(find, frame=512, look_ahead=512 + silence)


bursts = st.lists(st.tuples(st.integers(14, 120), st.integers(1, 150)), max_size=12)
"""Silence and loudness in turn, in frames; the pads of two neighbours never meet."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    bursts,
    st.lists(st.integers(0, 1 << 30), max_size=30),
    st.sampled_from([5.0, 12.0]),
    st.sampled_from([100, 2400]),
    st.sampled_from([0, 5 * SAMPLE_RATE]),
)
def test_seams_and_pieces_change_nothing(
    short_chunks: None, turns: list[tuple[int, int]], cuts: list[int], window_s: float, min_speech_ms: int, context: int
) -> None:
    vad.CONTEXT = context  # undone by short_chunks
    options = VadArgs(window_s=window_s, pause_s=3, min_silence_ms=0, min_speech_ms=min_speech_ms, pad_ms=200)
    parts = [np.repeat(np.float32([0, 1]), [512 * quiet, 512 * noisy]) for quiet, noisy in turns]
    audio = np.concatenate([*parts, np.zeros(700, np.float32)])
    found = listen(SpeechStream(loud(options), options), split(audio, cuts))
    check(found, audio, options)
    whole = loud(options).find(audio)
    assert [window for window, _ in found] == list(pack(whole, window_s, 3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 1 << 30), max_size=20), st.sampled_from([2.0, 8.0, 30.0]))
def test_a_stream_finds_what_is_found_in_the_whole_file(
    short_chunks: None, data: Path, cuts: list[int], window_s: float
) -> None:
    options = VadArgs(window_s=window_s)
    audio = decode((data / "three_speakers.flac").read_bytes())
    found = listen(SpeechFinder(options).stream(), split(audio, cuts))
    check(found, audio, options)
    whole = pack(silero(options).find(audio), window_s, options.pause_s)
    differing = mask([window for window, _ in found], len(audio)) != mask(list(whole), len(audio))
    assert differing.sum() <= 0.2 * SAMPLE_RATE


def test_a_file_of_one_chunk_is_heard_at_once(data: Path) -> None:
    audio = decode((data / "three_speakers.flac").read_bytes())[: 30 * SAMPLE_RATE]
    options = VadArgs(window_s=8)
    found = listen(SpeechFinder(options).stream(), split(audio, list(range(0, len(audio), 50_000))))
    assert [window for window, _ in found] == list(pack(silero(options).find(audio), 8, 30))


@pytest.mark.parametrize("name", ["silence", "noise", "tones"])
def test_a_stream_without_speech_has_no_windows(data: Path, short_chunks: None, name: str) -> None:
    assert listen(SpeechFinder(VadArgs()).stream(), list(pieces(data / f"{name}.flac"))) == []


def test_windows_come_early_and_samples_are_let_go(data: Path, short_chunks: None) -> None:
    stream, held = SpeechFinder(VadArgs(window_s=5)).stream(), list[weakref.ref[Audio]]()
    for piece in pieces(data / "two_minutes.flac"):
        held.append(weakref.ref(piece.samples))
        for window, _ in stream.feed(piece):
            assert piece.stop - window.stop < 25 * SAMPLE_RATE
        del piece
        assert sum(len(samples) for each in held if (samples := each()) is not None) <= 30 * SAMPLE_RATE


def test_no_window_reaches_across_a_gap(data: Path) -> None:
    path = data / "ten_seconds.flac"
    audio = decode(path.read_bytes())
    options = VadArgs(pause_s=30)
    heard = list(pieces(path, clips=[(0.9, 3), (3.5, 5), (5, 9)]))
    found = listen(SpeechFinder(options).stream(), heard)
    check(found, audio, options)
    clips = [(14_400, 48_000), (56_000, 144_000)]
    assert [sum(start <= each.start and each.stop <= stop for each, _ in found) for start, stop in clips] == [1, 1]
    assert len(found) == 2


def test_pieces_out_of_order_are_refused() -> None:
    stream = SpeechFinder(VadArgs()).stream()
    stream.feed(Piece(100, np.zeros(50, np.float32)))
    with pytest.raises(ValueError, match="sample 149 after 150"):
        stream.feed(Piece(149, np.zeros(50, np.float32)))


def test_each_stream_has_options_of_its_own(data: Path) -> None:
    finder, audio = SpeechFinder(VadArgs()), decode((data / "two_minutes.flac").read_bytes())
    changes = [VadArgs(window_s=4), VadArgs(pause_s=0), VadArgs(onset=0.99, offset=0.98), VadArgs(min_speech_ms=1500)]
    usual = [window for window, _ in listen(finder.stream(), split(audio, []))]
    for options in changes:
        found = listen(finder.stream(options), split(audio, []))
        check(found, audio, options)
        assert [window for window, _ in found] != usual


@pytest.mark.parametrize(
    "changes",
    [
        *[{"onset": 0.9}, {"offset": 0.05}, {"min_silence_ms": 0}, {"min_speech_ms": 1500}, {"pad_ms": 0}],
        {"window_s": 2},
    ],
)
def test_every_option_reaches_the_model(data: Path, changes: dict[str, float]) -> None:
    audio = decode((data / "two_minutes.flac").read_bytes())
    assert silero(VadArgs.model_validate(changes)).find(audio) != silero(VadArgs()).find(audio)


@pytest.fixture(scope="module")
def slow_finder() -> SpeechFinder:
    return SpeechFinder(VadArgs(method="pyannote"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one_sentence", "three_speakers", "silence", "noise"])
def test_pyannote_hears_words_and_no_noise(data: Path, slow_finder: SpeechFinder, name: str) -> None:
    options = VadArgs(method="pyannote", window_s=10)
    audio = decode((data / f"{name}.flac").read_bytes())
    found = listen(slow_finder.stream(options), split(audio, list(range(0, len(audio), 70_000))))
    check(found, audio, options)
    heard = mask([window for window, _ in found], len(audio))
    spoken = json.loads((data / f"{name}.json").read_text())["words"]
    middles = [int((word["start"] + word["end"]) / 2 * SAMPLE_RATE) for word in spoken]
    assert heard[middles].mean() > 0.9 if middles else not found


@pytest.mark.slow
def test_pyannote_in_chunks_is_pyannote_at_once(data: Path, slow_finder: SpeechFinder, short_chunks: None) -> None:
    options = VadArgs(method="pyannote")
    audio = decode((data / "three_speakers.flac").read_bytes())
    found = listen(slow_finder.stream(options), split(audio, [123_456]))
    check(found, audio, options)
    whole = list(pack(pyannote(options).find(audio), options.window_s, options.pause_s))
    assert (mask([window for window, _ in found], len(audio)) != mask(whole, len(audio))).sum() <= 0.5 * SAMPLE_RATE
