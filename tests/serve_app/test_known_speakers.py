"""Names for speakers: known ones by their voices, strangers by letters; plain vectors first, then the demo model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_imports import imported_by

from serve_app.config import DiarizationArgs
from serve_app.errors import BadAudio
from serve_app.known_speakers import name_known, similarity
from serve_app.models.audio import decode
from serve_app.models.diarizer import Diarizer
from serve_app.options import KnownSpeaker, SpeakerOptions
from serve_app.transcript import SpeakerTurn
from serve_app.voices import Speakers
from serve_app.windows import SAMPLE_RATE

VOICES = {"S0": (1.0, 0.0, 0.0), "S1": (0.0, 2.0, 0.0), "S2": (0.0, 0.0, 3.0)}
TURNS = (SpeakerTurn(0, 1, "S2"), SpeakerTurn(1, 2, "S0"), SpeakerTurn(2, 3, "S1"), SpeakerTurn(3, 4, "S2"))
HEARD = Speakers(TURNS, TURNS[:2], VOICES)


def named(known: list[KnownSpeaker], threshold: float = 0.8) -> list[str]:
    """The names of the four turns."""
    return [turn.speaker for turn in name_known(HEARD, known, threshold).turns]


def test_strangers_are_lettered_in_the_order_of_appearance() -> None:
    assert named([]) == ["A", "B", "C", "A"]


def test_a_known_voice_is_named_and_strangers_keep_letters() -> None:
    found = name_known(HEARD, [KnownSpeaker("Ada", (0.9, 0.1, 0.1))], 0.8)
    assert [turn.speaker for turn in found.turns] == ["A", "Ada", "B", "A"]
    assert [turn.speaker for turn in found.exclusive] == ["A", "Ada"]
    assert found.embeddings == {"Ada": VOICES["S0"], "B": VOICES["S1"], "A": VOICES["S2"]}


def test_under_the_threshold_nobody_is_named() -> None:
    half = KnownSpeaker("Ada", (1.0, 1.0, 1.0))
    assert similarity([half.embedding], [VOICES["S0"]])[0, 0] == pytest.approx(0.577, abs=1e-3)
    assert named([half], 0.58) == ["A", "B", "C", "A"]
    assert "Ada" in named([half], 0.57)


def test_letters_skip_known_names_even_of_people_who_are_not_heard() -> None:
    assert named([KnownSpeaker("A", (1, 0, 0)), KnownSpeaker("C", (-1, -1, -1))]) == ["B", "A", "D", "B"]


def test_one_name_goes_to_one_speaker_and_the_best_way_is_taken() -> None:
    voices = {"S0": (1.0, 0.0), "S1": (0.9, 0.43589)}
    heard = Speakers((SpeakerTurn(0, 1, "S0"), SpeakerTurn(1, 2, "S1")), (), voices)
    both, first = KnownSpeaker("both", (1.0, 0.1)), KnownSpeaker("first", (1.0, -0.2))
    assert [turn.speaker for turn in name_known(heard, [both, first], 0.8).turns] == ["first", "both"]
    assert [turn.speaker for turn in name_known(heard, [both], 0.8).turns] == ["both", "A"]


def test_several_references_of_one_name_stand_for_it_together() -> None:
    hoarse = [KnownSpeaker("Ada", (-1, 0, 0)), KnownSpeaker("Ada", (0, 1, 0))]
    assert named(hoarse) == ["A", "B", "Ada", "A"]


def test_a_voice_of_nothing_is_like_none() -> None:
    assert named([KnownSpeaker("Ada", (0, 0, 0))]) == ["A", "B", "C", "A"]


def test_a_speaker_without_an_embedding_gets_a_letter() -> None:
    heard = Speakers((SpeakerTurn(0, 1, "S0"),), (), {})
    assert name_known(heard, [KnownSpeaker("Ada", (1, 0, 0))], 0.8).turns == (SpeakerTurn(0, 1, "A"),)


def test_names_voices_and_blocks_need_no_model_library() -> None:
    assert imported_by("import serve_app.blocks, serve_app.known_speakers, serve_app.voices") == set()


@pytest.fixture(scope="module")
def diarizer(demo_models: Path) -> Diarizer:
    return Diarizer(demo_models / "diarization", DiarizationArgs(model="demo-diarization", device="cpu"), 1)


def clip_of(sample: Any, speaker: str) -> np.ndarray:
    """The samples of a speaker's longest turn in a file."""
    turns = [turn for turn in sample.reference["turns"] if turn["speaker"] == speaker]
    longest = max(turns, key=lambda turn: turn["end"] - turn["start"])
    first, last = (round(longest[edge] * SAMPLE_RATE) for edge in ("start", "end"))
    return decode(sample.path.read_bytes())[first:last]


def known_in(diarizer: Diarizer, sample: Any, file: str, speaker: str) -> KnownSpeaker:
    return KnownSpeaker("Ada", tuple(diarizer.embed(clip_of(sample(file), speaker)).tolist()))


@pytest.mark.parametrize(
    ("file", "voice", "speaker"),
    [
        ("three_speakers", "A", "A"),  # a part of the file itself
        ("three_speakers", "B", "B"),
        ("conversation", "B", "C"),  # the same voice in another recording
    ],
)
def test_a_reference_names_its_speaker_through_the_file(
    diarizer: Diarizer, sample: Any, file: str, voice: str, speaker: str
) -> None:
    three = sample("three_speakers")
    options = SpeakerOptions(known=(known_in(diarizer, sample, file, voice),))
    turns = diarizer.diarize(decode(three.path.read_bytes()), options)
    ours = [turn for turn in turns if turn.speaker == "Ada"]
    shared = {who: sum(overlap(turn, ref) for turn in ours for ref in of(three, who)) for who in "ABC"}
    true_seconds = sum(ref.end - ref.start for ref in of(three, speaker))
    assert shared[speaker] > 0.9 * true_seconds
    assert sum(shared.values()) - shared[speaker] < 0.1 * true_seconds
    assert {turn.speaker for turn in turns} == {"Ada", "A", "B"}


def of(sample: Any, speaker: str) -> list[SpeakerTurn]:
    """A speaker's true turns."""
    turns = sample.reference["turns"]
    return [SpeakerTurn(t["start"], t["end"], speaker) for t in turns if t["speaker"] == speaker]


def overlap(one: SpeakerTurn, other: SpeakerTurn) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


@pytest.mark.parametrize(
    ("stranger", "voice", "file", "heard"),
    [("two_minutes", "A", "three_speakers", {"A", "B", "C"}), ("three_speakers", "B", "conversation", {"A", "B"})],
)
def test_a_strangers_reference_names_nobody(
    diarizer: Diarizer, sample: Any, stranger: str, voice: str, file: str, heard: set[str]
) -> None:
    options = SpeakerOptions(known=(known_in(diarizer, sample, stranger, voice),))
    turns = diarizer.diarize(decode(sample(file).path.read_bytes()), options)
    assert {turn.speaker for turn in turns} == heard


def test_a_reference_in_which_nobody_talks_is_refused(diarizer: Diarizer) -> None:
    with pytest.raises(BadAudio, match="nobody talks in this reference") as caught:
        diarizer.embed(np.zeros(3 * SAMPLE_RATE, np.float32))
    assert caught.value.param == "known_speaker_references"
    with pytest.raises(BadAudio):
        diarizer.embed(np.zeros(0, np.float32))
