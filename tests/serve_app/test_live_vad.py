"""Speech in live audio: the same as in the whole file, however it is cut, and none in noise."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve_app.config import VadArgs
from serve_app.models.audio import decode
from serve_app.models.environment import OFFLINE
from serve_app.models.live_vad import LiveVad, SpeechStarted, SpeechStopped
from serve_app.models.vad import SpeechWindows
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE
from tests.conftest import ROOT

KINDS = (SpeechStarted, SpeechStopped)


def heard(samples: Audio, size: int, **options: Any) -> list[SpeechStarted | SpeechStopped]:
    vad = LiveVad(**options)
    return [event for at in range(0, len(samples), size) for event in vad.feed(samples[at : at + size])]


@pytest.fixture(scope="module")
def speech(data: Path) -> Audio:
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    return np.concatenate([quiet, decode((data / "three_speakers.flac").read_bytes()), quiet])


def test_speech_lies_where_it_is_found_in_the_whole_file(speech: Audio) -> None:
    args = VadArgs(min_silence_ms=300, pad_ms=0, pause_s=0, min_speech_ms=96)
    whole = [(window.start_s, window.stop_s) for window in SpeechWindows(args)(speech)]
    events = heard(speech, 1600, silence_ms=300)
    starts, stops = ([event.at / SAMPLE_RATE for event in events if isinstance(event, kind)] for kind in KINDS)
    assert len(whole) >= 5
    assert len(starts) == len(stops) <= len(whole) + 1  # a pause just at the limit may be taken either way
    for start, stop in whole:
        assert min(abs(start - each) for each in starts) <= 0.1
        assert min(abs(stop - each) for each in stops) <= 0.1


def test_how_it_is_cut_changes_nothing(speech: Audio) -> None:
    once = heard(speech, len(speech))
    assert heard(speech, 100) == heard(speech, 1600) == heard(speech, 12_345) == once


@pytest.mark.parametrize("name", ["silence", "noise", "tones"])
def test_nobody_speaks_where_nobody_does(data: Path, name: str) -> None:
    assert heard(decode((data / f"{name}.flac").read_bytes()), 1600) == []


def test_an_utterance_without_an_end_is_cut(speech: Audio) -> None:
    events = heard(speech, 1600, silence_ms=10_000, longest_s=2.0)
    cuts = [event for event in events if isinstance(event, SpeechStopped)]
    assert cuts
    assert all(event.cut for event in cuts)
    starts = [event.at for event in events if isinstance(event, SpeechStarted)]
    assert all(0 < stop.at - start <= 2.1 * SAMPLE_RATE for start, stop in zip(starts, cuts, strict=False))


def test_what_ended_by_order_begins_anew(speech: Audio) -> None:
    vad = LiveVad()
    first = vad.feed(speech[: 3 * SAMPLE_RATE])
    assert isinstance(first[0], SpeechStarted)
    vad.end()
    assert vad.began is None
    assert any(isinstance(event, SpeechStarted) for event in vad.feed(speech[3 * SAMPLE_RATE :]))


@pytest.mark.parametrize(
    "load",
    [
        "from serve_app.models.live_vad import LiveVad; LiveVad()",
        "from serve_app.config import VadArgs; from serve_app.models.vad import SpeechFinder; SpeechFinder(VadArgs())",
    ],
)
def test_onnxruntime_does_not_phone_home(load: str, tmp_path: Path) -> None:
    """It complains where it cannot keep the number that it would send along."""
    unwritable = {"HOME": "/proc", "XDG_CACHE_HOME": "/proc", "TMPDIR": str(tmp_path)}
    environment = {name: value for name, value in os.environ.items() if name not in OFFLINE} | unwritable
    done = subprocess.run([sys.executable, "-c", load], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "telemetry" not in done.stderr.lower()
