"""Speech windows: none where nobody speaks, all words inside where somebody does."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from serve_app.config import VadArgs
from serve_app.models.audio import decode
from serve_app.models.vad import SpeechWindows
from serve_app.windows import SAMPLE_RATE


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
        sum(each.stop - each.start for each in SpeechWindows(VadArgs(threshold=threshold, window_s=30))(audio))
        for threshold in (0.1, 0.5, 0.9)
    ]
    assert found[0] >= found[1] >= found[2]
