"""Windows: all speech is covered, in order, without overlap, and no window is too long."""

import random
from itertools import pairwise

import pytest
from fakes import window
from hypothesis import given
from hypothesis import strategies as st

from serve_app.errors import BadRequest
from serve_app.windows import ENDLESS, SAMPLE_RATE, Packer, Window, pack, stretches


def test_neighbours_are_joined_with_the_silence_between_them() -> None:
    speech = [window(1, 10), window(12, 29), window(30, 40)]
    assert list(pack(speech, 30)) == [window(1, 29), window(30, 40)]


def test_the_longest_window_is_reached_and_not_passed() -> None:
    assert list(pack([window(0, 10), window(20, 30)], 30)) == [window(0, 30)]
    late = Window(20 * SAMPLE_RATE, 30 * SAMPLE_RATE + 1)
    assert list(pack([window(0, 10), late], 30)) == [window(0, 10), late]


def test_a_longer_stretch_is_cut_in_equal_parts() -> None:
    assert list(pack([window(5, 66)], 30)) == [
        Window(80_000, 80_000 + 325_333),
        Window(80_000 + 325_333, 80_000 + 650_666),
        Window(80_000 + 650_666, 80_000 + 976_000),
    ]


def test_no_speech_makes_no_windows() -> None:
    assert list(pack([], 30)) == []


def test_seconds_are_those_of_the_file() -> None:
    assert (Window(8_000, 24_000).start_s, Window(8_000, 24_000).stop_s) == (0.5, 1.5)


def random_speech(dice: random.Random) -> list[Window]:
    """Ordered stretches without overlap, from one sample to minutes long, some touching."""
    speech, position = [], 0
    for _ in range(dice.randrange(40)):
        position += dice.choice([0, 1, dice.randrange(1, 60 * SAMPLE_RATE)])
        length = dice.choice([1, dice.randrange(1, SAMPLE_RATE), dice.randrange(1, 120 * SAMPLE_RATE)])
        speech.append(Window(position, position + length))
        position += length
    return speech


def test_any_speech_is_covered_in_order_by_windows_that_are_short_enough() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        speech, longest_s = random_speech(dice), dice.choice([1.0, 7.3, 30.0])
        windows = list(pack(speech, longest_s))
        assert all(0 < each.stop - each.start <= longest_s * SAMPLE_RATE for each in windows), seed
        assert all(before.stop <= after.start for before, after in pairwise(windows)), seed
        assert covered(speech, windows) == sum(stretch.stop - stretch.start for stretch in speech), seed
        if speech:
            assert (windows[0].start, windows[-1].stop) == (speech[0].start, speech[-1].stop), seed


def covered(speech: list[Window], windows: list[Window]) -> int:
    """How many samples of speech lie inside windows."""
    overlaps = (min(a.stop, b.stop) - max(a.start, b.start) for a in speech for b in windows)
    return sum(overlap for overlap in overlaps if overlap > 0)


def test_a_long_pause_is_never_inside_a_window() -> None:
    speech = [window(0, 1), window(1.5, 2), window(4, 5), window(5.8, 6)]
    assert list(pack(speech, 30, longest_pause_s=0.8)) == [window(0, 2), window(4, 6)]
    assert list(pack(speech, 30)) == [window(0, 6)]


def test_a_window_is_given_out_once_nothing_can_join_it() -> None:
    packer = Packer(longest_s=30, longest_pause_s=5)
    assert list(packer.add(window(1, 10))) == []
    assert list(packer.settle(window(15, 16).start)) == []
    assert packer.open == window(1, 10)
    assert list(packer.settle(window(15, 16).start + 1)) == [window(1, 10)]
    assert (packer.open, list(packer.settle(ENDLESS)), list(packer.close())) == (None, [], [])


def test_a_full_window_is_given_out_however_short_the_pause() -> None:
    packer = Packer(longest_s=30)
    assert list(packer.add(window(0, 29.9))) == []
    assert list(packer.settle(30 * SAMPLE_RATE - 1)) == []
    assert list(packer.settle(30 * SAMPLE_RATE)) == [window(0, 29.9)]


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 40_000)), max_size=20), st.data())
def test_settling_early_changes_no_window(gaps_and_lengths: list[tuple[int, int]], data: st.DataObject) -> None:
    packer, at, speech, windows = Packer(2.0, 0.3), 0, [], []
    for gap, length in gaps_and_lengths:
        begin = at + gap
        windows += packer.settle(data.draw(st.integers(at, begin)))
        speech.append(Window(begin, begin + length))
        windows += packer.add(speech[-1])
        at = begin + length
    assert [*windows, *packer.close()] == list(pack(speech, 2.0, 0.3))


def test_without_clips_the_whole_file_is_heard() -> None:
    assert stretches([]) == [Window(0, ENDLESS)]


def test_clips_are_sorted_and_the_last_may_be_open() -> None:
    assert stretches([(20, None), (1, 2.5), (2.5, 3)]) == [window(1, 2.5), window(2.5, 3), Window(320_000, ENDLESS)]


def test_seconds_beyond_any_file_are_its_end() -> None:
    assert stretches([(1, 1e300)]) == [Window(SAMPLE_RATE, ENDLESS)]
    assert stretches([(1e300, None)]) == [Window(ENDLESS, ENDLESS)]


@pytest.mark.parametrize(
    ("clips", "said"),
    [
        ([(-1, 2)], "a clip cannot begin at -1 s"),
        ([(float("nan"), 2)], "a clip cannot begin at nan s"),
        ([(float("inf"), None)], "a clip cannot begin at inf s"),
        ([(3, 2)], "the clip from 3 s ends at 2 s, before it begins"),
        ([(3, 3)], "the clip from 3 s ends at 3 s"),
        ([(3, float("nan"))], "the clip from 3 s ends at nan s"),
        ([(1, 3), (2, 4)], "the clip from 1 s to 3 s overlaps the one from 2 s"),
        ([(5, 6), (1, None)], "the clip from 1 s to the end overlaps the one from 5 s"),
        ([(5, None), (5, None)], "the clip from 5 s to the end overlaps the one from 5 s"),
    ],
)
def test_clips_that_cannot_be_are_refused(clips: list[tuple[float, float | None]], said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        stretches(clips)
    assert said in str(caught.value)
    assert caught.value.param == "clip_timestamps"
