"""Speakers: turns laid over words, and segments cut where the speaker changes."""

import random
import time
from dataclasses import replace
from itertools import pairwise

import pytest
from fakes import segment, words

from serve_app.speakers import ALIKE, Turns, assign, by_speaker, letters
from serve_app.transcript import Segment, SpeakerTurn, Word

TURNS = (SpeakerTurn(0.0, 4.0, "A"), SpeakerTurn(3.0, 8.0, "B"), SpeakerTurn(10.0, 11.0, "A"))


@pytest.mark.parametrize(
    ("start", "end", "speaker"),
    [
        (0.5, 1.0, "A"),  # inside one turn
        (3.4, 4.8, "B"),  # more of B
        (2.0, 3.9, "A"),  # more of A, though both are heard
        (8.1, 8.4, "B"),  # silence: B was nearer
        (9.7, 9.9, "A"),  # silence: A is nearer
        (50.0, 51.0, "A"),  # long after: the last
        (5.0, 5.0, "B"),  # no length, inside a turn
    ],
)
def test_the_speaker_is_the_one_heard_longest_or_else_nearest(start: float, end: float, speaker: str) -> None:
    assert Turns(TURNS).speaker(start, end) == speaker


def test_short_turns_of_one_speaker_add_up() -> None:
    turns = [SpeakerTurn(0.0, 0.4, "A"), SpeakerTurn(0.4, 1.0, "B"), SpeakerTurn(1.0, 1.4, "A")]
    assert Turns(turns).speaker(0.0, 1.4) == "A"


def test_without_turns_nobody_is_named() -> None:
    assert Turns([]).speaker(0.0, 1.0) is None


def test_the_index_finds_what_a_plain_search_finds() -> None:
    for seed in range(30):
        dice = random.Random(seed)
        starts = [dice.uniform(0, 60) for _ in range(dice.randrange(1, 25))]
        turns = [SpeakerTurn(start, start + dice.choice([0.1, 1.0, 20.0]), dice.choice("ABC")) for start in starts]
        for _ in range(40):
            start = dice.uniform(-5, 90)
            end = start + dice.uniform(0, 5)
            heard = {name: seconds_of(name, turns, start, end) for name in "ABC"}
            found = Turns(turns).speaker(start, end)
            assert found is not None
            assert not any(heard.values()) or heard[found] >= ALIKE * max(heard.values()) - 1e-9, seed
            if not any(heard.values()):
                gaps = {n: gap_to(n, turns, start, end) for n in "ABC"}
                assert gaps[found] == pytest.approx(min(gaps.values())), seed


def seconds_of(name: str, turns: list[SpeakerTurn], start: float, end: float) -> float:
    """How long one speaker is heard in a stretch of time; turns of one speaker that overlap count once."""
    edges = sorted({start, end, *(edge for t in turns for edge in (t.start, t.end) if start < edge < end)})
    own = [turn for turn in turns if turn.speaker == name]
    return sum(b - a for a, b in pairwise(edges) if any(turn.start <= a and b <= turn.end for turn in own))


def gap_to(name: str, turns: list[SpeakerTurn], start: float, end: float) -> float:
    """How far the nearest turn of a speaker is."""
    return min((max(t.start - end, start - t.end) for t in turns if t.speaker == name), default=float("inf"))


def test_of_two_who_talk_at_once_the_one_heard_more_surely_says_the_word() -> None:
    together = [SpeakerTurn(0, 4, "A"), SpeakerTurn(2, 6, "B")]
    exclusive = [SpeakerTurn(0, 2.5, "A"), SpeakerTurn(2.5, 6, "B")]
    settled = Turns(together, exclusive)
    assert [settled.speaker(start, start + 0.4) for start in (2.05, 2.4, 3.0)] == ["A", "B", "B"]
    assert settled.speaker(3.0, 3.0) == "B"
    assert Turns(together).speaker(3.0, 3.4) == "A", "without exclusive turns who began first"


def test_who_is_clearly_heard_longer_says_the_word_whoever_is_surer() -> None:
    turns = Turns(
        [SpeakerTurn(0, 4, "A"), SpeakerTurn(3.8, 6, "B")], [SpeakerTurn(0, 3.8, "A"), SpeakerTurn(3.8, 6, "B")]
    )
    assert turns.speaker(3.5, 4.1) == "A"


def test_who_is_heard_nearly_as_long_says_the_word_if_surer() -> None:
    turns, exclusive = [SpeakerTurn(0, 4, "A"), SpeakerTurn(1, 4, "B")], [SpeakerTurn(0, 4, "B")]
    assert Turns(turns, exclusive).speaker(0.97, 1.97) == "B"
    assert Turns(turns, exclusive).speaker(0.9, 1.9) == "A"


def test_a_turn_without_length_is_nobodys() -> None:
    turns = Turns([SpeakerTurn(1, 1, "B"), SpeakerTurn(2, 4, "A"), SpeakerTurn(6, 7, "C")])
    assert [turns.speaker(start, start + 0.4) for start in (0.9, 4.1, 5.5)] == ["A", "A", "C"]


def test_the_surest_is_never_one_who_is_not_heard() -> None:
    turns = Turns([SpeakerTurn(0, 4, "A"), SpeakerTurn(0, 4, "B")], [SpeakerTurn(0, 4, "C")])
    assert turns.speaker(1, 2) == "A"


def test_in_a_silence_the_surest_of_those_who_ended_together_is_nearest() -> None:
    turns = Turns([SpeakerTurn(0, 4, "A"), SpeakerTurn(2, 4, "B")], [SpeakerTurn(0, 2, "A"), SpeakerTurn(2, 4, "B")])
    assert turns.speaker(4.5, 5.0) == "B"


def test_a_long_turn_and_many_short_ones_are_searched_fast() -> None:
    count = 30_000
    turns = [SpeakerTurn(0, 3 * count, "A"), *(SpeakerTurn(3 * i + 1, 3 * i + 1.5, "B") for i in range(count))]
    index, gaps = Turns(turns), Turns(turns[1:])
    began = time.process_time()
    assert {index.speaker(3 * i, 3 * i + 0.5) for i in range(count)} == {"A"}
    assert {gaps.speaker(3 * i + 2, 3 * i + 2.5) for i in range(count)} == {"B"}
    assert time.process_time() - began < 10, "a search through all turns takes minutes"


def test_speakers_are_lettered_in_the_order_in_which_they_are_heard() -> None:
    turns = [SpeakerTurn(5, 6, "SPEAKER_00"), SpeakerTurn(0, 2, "SPEAKER_07"), SpeakerTurn(7, 8, "SPEAKER_07")]
    assert letters(turns) == (SpeakerTurn(0, 2, "A"), SpeakerTurn(5, 6, "B"), SpeakerTurn(7, 8, "A"))


def test_letters_go_on_after_z() -> None:
    named = [turn.speaker for turn in letters([SpeakerTurn(i, i + 1, str(i)) for i in range(26 * 27 + 1)])]
    assert (named[0], named[25], named[26], named[51], named[52]) == ("A", "Z", "AA", "AZ", "BA")
    assert (named[26 * 27 - 1], named[26 * 27]) == ("ZZ", "AAA")
    assert len(set(named)) == len(named)


def test_every_word_and_segment_gets_its_own_speaker() -> None:
    (told,) = assign([segment("one two three four", 0, 8)], TURNS)
    assert [word.speaker for word in told.words] == ["A", "A", "B", "B"]
    assert told.speaker == "B"


@pytest.mark.parametrize(
    ("before", "after", "speaker"),
    [
        (Word("I", 1.0, 1.5), Word("said", 2.5, 3.0), "A"),  # between two words of A
        (Word("I", 1.0, 2.5), Word("yes", 6.0, 7.0), "B"),  # its gap is B's for longer
        (Word("I", 5.0, 5.5), Word("yes", 5.5, 6.0), "B"),  # no gap at all
        (Word("I", 5.0, 6.0), Word("yes", 5.5, 6.5), "B"),  # its neighbours overlap
    ],
)
def test_a_word_without_a_time_is_said_by_who_is_heard_between_its_neighbours(
    before: Word, after: Word, speaker: str
) -> None:
    (told,) = assign([Segment(0, 8, "I 42 yes", (before, Word("42", None, None), after))], TURNS)
    assert told.words[1] == Word("42", None, None, speaker=speaker)


def test_words_without_times_at_the_edges_reach_to_the_segments_edges() -> None:
    spoken = (Word("42", None, None), Word("is", 3.9, 4.0), Word("7", None, None))
    (told,) = assign([Segment(0, 8, "42 is 7", spoken)], TURNS)
    assert [word.speaker for word in told.words] == ["A", "A", "B"]


def test_without_turns_words_and_segments_have_no_speaker() -> None:
    (told,) = assign([segment("one two", 0, 8)], ())
    assert (told.speaker, {word.speaker for word in told.words}) == (None, {None})


def test_segments_are_cut_where_the_speaker_changes() -> None:
    whole = replace(segment("one two three four", 0, 8), speaker="A", tokens=(1, 2), avg_logprob=-0.5)
    first, second = by_speaker(assign([whole], TURNS))
    assert (first.speaker, first.text, first.start, first.end) == ("A", "one two", 0.0, 4.0)
    assert (second.speaker, second.text, second.start, second.end) == ("B", "three four", 4.0, 8.0)
    assert second.avg_logprob == -0.5


def test_a_segment_of_one_speaker_stays_whole() -> None:
    whole = Segment(0, 3, "One,  two.", words("One, two.", 0, 3, "A"), "A")
    assert by_speaker([whole]) == (whole,)


def test_a_segment_without_words_keeps_its_speaker() -> None:
    plain = Segment(0, 3, "One two.", speaker="B")
    assert by_speaker([plain]) == (plain,)


def test_an_unplaced_word_goes_with_the_words_before_it() -> None:
    spoken = (Word("in", 0, 1, speaker="A"), Word("1984", None, None), Word("yes", 2, 3, speaker="B"))
    first, second = by_speaker([Segment(0, 3, "in 1984 yes", spoken, "A")])
    assert (first.text, first.speaker, second.text, second.speaker) == ("in 1984", "A", "yes", "B")


def test_an_unplaced_word_at_the_start_goes_with_the_words_after_it() -> None:
    spoken = (Word("1984", None, None), Word("was", 1, 2, speaker="A"), Word("yes", 2, 3, speaker="B"))
    first, second = by_speaker([Segment(0, 3, "1984 was yes", spoken, "B")])
    assert (first.text, first.speaker, first.start, first.end) == ("1984 was", "A", 1, 2)
    assert (second.text, second.speaker) == ("yes", "B")


def test_an_unspaced_language_is_cut_without_new_spaces() -> None:
    spoken = tuple(Word(sign, i, i + 1, speaker="A" if i < 2 else "B") for i, sign in enumerate("今日晴れ"))
    first, second = by_speaker([Segment(0, 4, "今日晴れ", spoken, "A")])
    assert (first.text, second.text) == ("今日", "晴れ")


@pytest.mark.parametrize(
    ("text", "first", "second", "texts"),
    [
        ("no no no", "no no", "no", ("no no", "no")),  # the same word again and again
        ("yes 2 yes", "yes x", "yes", ("yes 2", "yes")),  # one before the cut that is written in another way
        ("yes 2 men", "yes", "two men", ("yes", "2 men")),  # and one after it
    ],
)
def test_the_text_is_cut_where_the_other_speaker_begins(
    text: str, first: str, second: str, texts: tuple[str, str]
) -> None:
    spoken = (*words(first, 0, 2, "A"), *words(second, 2, 4, "B"))
    assert tuple(part.text for part in by_speaker([Segment(0, 4, text, spoken, "A")])) == texts


def test_a_part_without_placed_words_is_somewhere_in_its_segment() -> None:
    spoken = (Word("in", 1, 2, speaker="A"), Word("1984", None, None, speaker="B"))
    _, second = by_speaker([Segment(1, 3, "in 1984", spoken, "A")])
    assert (second.text, second.speaker, second.start, second.end) == ("1984", "B", 1, 3)
