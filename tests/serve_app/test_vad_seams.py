"""Where one chunk of a stream follows another: how much the model hears, and what of it is told when."""

from collections.abc import Sequence

import numpy as np
import pytest
from fakes import silence, window

from serve_app.config import VadArgs
from serve_app.models import vad
from serve_app.models.vad import Detector, SpeechStream
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE, Window


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seams every few seconds instead of every few minutes."""
    monkeypatch.setattr(vad, "FIRST", 3 * SAMPLE_RATE)
    monkeypatch.setattr(vad, "LONGEST", 7 * SAMPLE_RATE)


class Deaf:
    """Hears nothing, and notes how much it was given."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def find(self, audio: Audio) -> list[Window]:
        self.heard.append(len(audio))
        return []


def stream_over(find: object, **options: float) -> SpeechStream:
    return SpeechStream(Detector(find, frame=512, look_ahead=0), VadArgs.model_validate(options))  # type: ignore[arg-type]


def windows(stream: SpeechStream, pieces: Sequence[Piece]) -> list[Window]:
    found = [each for piece in pieces for each, _ in stream.feed(piece)]
    return found + [each for each, _ in stream.close()]


@pytest.mark.parametrize("length_s", [1, 600])
def test_the_model_hears_chunks_that_grow_whatever_the_pieces(length_s: int) -> None:
    deaf, piece = Deaf(), silence(length_s)
    pieces = [Piece(at * SAMPLE_RATE, piece) for at in range(0, 600, length_s)]
    assert windows(stream_over(deaf.find), pieces) == []
    assert deaf.heard[0] == vad.FIRST
    assert vad.LONGEST < max(deaf.heard) < vad.LONGEST + vad.CONTEXT + SAMPLE_RATE


def test_after_a_gap_nothing_before_it_is_heard_again(short_chunks: None) -> None:
    deaf, piece = Deaf(), silence(4)
    assert windows(stream_over(deaf.find), [Piece(0, piece), Piece(100 * SAMPLE_RATE, piece)]) == []
    assert deaf.heard == [3 * SAMPLE_RATE, 4 * SAMPLE_RATE] * 2


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ((0.5, 2.1), [(0.5, 2)]),  # the same, told already
        ((1.2, 2.3), [(0.5, 2)]),  # mostly told
        ((1.5, 3.4), [(0.5, 2), (2, 3.4)]),  # more of it, of which a part was told
    ],
)
def test_of_what_the_model_hears_again_the_rest_is_told(
    short_chunks: None, again: tuple[float, float], expected: list[tuple[float, float]]
) -> None:
    answers = iter([[window(0.5, 2)], [window(*again)], []])
    stream = stream_over(lambda audio: next(answers), window_s=2, pause_s=0, min_speech_ms=0, pad_ms=0)
    assert windows(stream, [Piece(0, silence(6.5))]) == [window(*each) for each in expected]


def test_a_window_comes_once_no_speech_can_join_it(short_chunks: None) -> None:
    def find(audio: Audio) -> list[Window]:
        loud = np.flatnonzero(audio)
        return [Window(int(loud[0]), int(loud[-1]) + 1)] if len(loud) else []

    stream, audio = stream_over(find, pause_s=3), silence(40)
    audio[5 * SAMPLE_RATE : 6 * SAMPLE_RATE] = 1
    assert [each for each, _ in stream.feed(Piece(0, audio))] == [window(5, 6)]
    assert stream.close() == []
