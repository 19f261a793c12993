"""Blocks: every chunk of a file is one block's, whatever the pieces; gaps are silence that takes no memory."""

import tracemalloc

import numpy as np
import pytest
from fakes import silence
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.blocks import BLOCK_S, REACH_S, Block, BlockCutter
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE

CHUNK = 10 * SAMPLE_RATE


def cut(heard: list[Piece]) -> list[tuple[Block, Audio]]:
    cutter = BlockCutter()
    return [block for piece in heard for block in cutter.feed(piece)] + cutter.close()


def seconds(blocks: list[tuple[Block, Audio]]) -> list[tuple[float, float, bool]]:
    return [(block.start / SAMPLE_RATE, block.stop / SAMPLE_RATE, block.last) for block, _ in blocks]


@pytest.mark.parametrize(
    ("length_s", "expected"),
    [
        (0.001, [(0, 0.001, True)]),
        (70, [(0, 70, True)]),
        (70.5, [(0, 70, False), (60, 70.5, True)]),
        (130, [(0, 70, False), (60, 130, True)]),
        (131, [(0, 70, False), (60, 130, False), (120, 131, True)]),
    ],
)
def test_blocks_begin_every_minute_and_the_last_takes_the_rest(length_s: float, expected: list[object]) -> None:
    assert seconds(cut([Piece(0, silence(length_s))])) == expected


def test_a_file_without_samples_has_no_blocks() -> None:
    assert cut([]) == []


def test_a_block_comes_as_soon_as_it_is_known_not_to_be_the_last() -> None:
    cutter = BlockCutter()
    assert cutter.feed(Piece(0, silence(BLOCK_S + REACH_S))) == []
    ((block, _),) = cutter.feed(Piece(70 * SAMPLE_RATE, silence(1)))
    assert block == Block(0, 70 * SAMPLE_RATE, last=False)


def chunks_of_file(length: int) -> list[tuple[int, int]]:
    """Start and stop of pyannote's chunks: 10 s each second, and a final shorter one if samples are left."""
    full = [(at, at + CHUNK) for at in range(0, length - CHUNK + 1, SAMPLE_RATE)]
    final = len(full) * SAMPLE_RATE
    return full if full and full[-1][1] == length else [*full, (final, length)]


def chunks_of_blocks(blocks: list[Block]) -> list[tuple[int, int]]:
    """The same, each from the block that owns it: those that begin in its minute, or, of the last, all."""
    return [
        (block.start + start, block.start + stop)
        for block in blocks
        for start, stop in chunks_of_file(block.stop - block.start)
        if block.last or start < BLOCK_S * SAMPLE_RATE
    ]


@settings(deadline=None)
@given(st.integers(1, 260 * SAMPLE_RATE) | st.integers(1, 260).map(lambda whole: whole * SAMPLE_RATE))
def test_every_chunk_of_the_file_is_one_blocks(length: int) -> None:
    blocks = [block for block, _ in cut([Piece(0, np.zeros(length, np.float32))])]
    assert chunks_of_blocks(blocks) == chunks_of_file(length)
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 90)), min_size=1, max_size=6))
def test_a_block_holds_the_files_samples_and_silence_between(gaps_and_lengths: list[tuple[int, int]]) -> None:
    heard, at, dice = [], 0, np.random.default_rng(0)
    for gap, length in gaps_and_lengths:
        heard.append(Piece(at + gap * 16_000, dice.random(length * 16_000, np.float32)))
        at = heard[-1].stop
    whole = np.zeros(at, np.float32)
    for piece in heard:
        whole[piece.start : piece.stop] = piece.samples
    for block, audio in cut(heard):
        np.testing.assert_array_equal(audio, whole[block.start : block.stop])
        assert audio.dtype == np.float32
        assert not audio.flags.writeable


def test_hours_of_gap_take_no_memory() -> None:
    cutter, hours = BlockCutter(), 9 * 3600 * SAMPLE_RATE
    tracemalloc.start()
    blocks = cutter.feed(Piece(hours, silence(1)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(blocks) == 9 * 60 - 1
    assert peak < 6e6
    assert not any(audio.any() for _, audio in blocks[::100])


def test_an_hour_is_not_held() -> None:
    cutter, second = BlockCutter(), silence(1)
    tracemalloc.start()
    for at in range(3600):
        cutter.feed(Piece(at * SAMPLE_RATE, second.copy()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * (BLOCK_S + REACH_S) * SAMPLE_RATE * 4
