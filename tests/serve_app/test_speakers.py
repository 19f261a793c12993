"""Speakers: turns laid over words, and segments cut where the speaker changes."""

import random
from dataclasses import replace

import pytest
from fakes import segment, words

from serve_app.speakers import Turns, assign, by_speaker, letters
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
            assert not any(heard.values()) or heard[found] == pytest.approx(max(heard.values())), seed


def seconds_of(name: str, turns: list[SpeakerTurn], start: float, end: float) -> float:
    """How long one speaker is heard in a stretch of time."""
    return sum(max(0.0, min(t.end, end) - max(t.start, start)) for t in turns if t.speaker == name)


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


def test_a_word_without_a_time_gets_no_speaker() -> None:
    (told,) = assign([Segment(0, 2, "42", (Word("42", None, None),))], TURNS)
    assert (told.words[0].speaker, told.speaker) == (None, "A")


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
    first, second = by_speaker([Segment(0, 3, "1984 was yes", spoken, "A")])
    assert (first.text, first.speaker, first.start, first.end) == ("1984 was", "A", 1, 2)
    assert (second.text, second.speaker) == ("yes", "B")


def test_an_unspaced_language_is_cut_without_new_spaces() -> None:
    spoken = tuple(Word(sign, i, i + 1, speaker="A" if i < 2 else "B") for i, sign in enumerate("今日晴れ"))
    first, second = by_speaker([Segment(0, 4, "今日晴れ", spoken, "A")])
    assert (first.text, second.text) == ("今日", "晴れ")
