"""Conversations to measure diarization with, and the diarization error rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

from training.conversations import Conversation, conversation
from training.speech import LANGUAGES, SAMPLE_RATE, Voice

COLLAR_S = 0.25
TURNS = {1: 5, 2: 10, 3: 12, 4: 14}
"""Turns of a conversation of so many speakers: 20 to 60 s."""


@dataclass
class Case:
    """A conversation as pyannote takes it, who talks when in it, and how many talk."""

    file: dict[str, Any]
    reference: Annotation
    speakers: int


def make_cases(seed: int, variants: Sequence[str], speakers: int, count: int, held_out: bool) -> list[Case]:
    """Conversations of speakers whose voice variants differ."""
    rng = np.random.default_rng([seed, speakers])
    talks = (
        conversation(rng, distinct_voices(rng, variants, speakers), TURNS[speakers], held_out) for _ in range(count)
    )
    return [make_case(talk, f"{speakers}-{i}", speakers) for i, talk in enumerate(talks)]


def make_twin_cases(seed: int, variants: Sequence[str], speakers: int, count: int) -> list[Case]:
    """Conversations in which two of the speakers share a voice variant and differ in pitch by 14 to 36."""
    rng = np.random.default_rng([seed, speakers, 1])
    cases = []
    for i in range(count):
        voices = distinct_voices(rng, variants, speakers)
        apart = int(rng.integers(14, 37))
        low = int(rng.integers(30, 71 - apart))
        pitches = (low, low + apart) if rng.random() < 0.5 else (low + apart, low)
        voices[0] = replace(voices[0], pitch=pitches[0])
        voices[1] = replace(voices[1], variant=voices[0].variant, pitch=pitches[1])
        cases.append(make_case(conversation(rng, voices, TURNS[speakers]), f"twins-{speakers}-{i}", speakers))
    return cases


def distinct_voices(rng: np.random.Generator, variants: Sequence[str], count: int) -> list[Voice]:
    """Voices of `count` different variants, of any accent, at an ordinary speed and pitch."""
    return [
        Voice(
            str(rng.choice(LANGUAGES)),
            variant,
            rate=int(rng.integers(135, 196)),
            pitch=int(rng.integers(30, 71)),
            pitch_range=int(rng.integers(30, 71)),
        )
        for variant in rng.permutation(list(variants))[:count].tolist()
    ]


def make_case(talk: Conversation, name: str, speakers: int) -> Case:
    """A conversation with its turns as pyannote's annotation."""
    reference = Annotation(uri=name)
    for i, turn in enumerate(talk.turns):
        reference[Segment(turn.start, turn.end), i] = turn.speaker
    waveform = torch.from_numpy(talk.samples)[None]
    return Case({"waveform": waveform, "sample_rate": SAMPLE_RATE, "uri": name}, reference, speakers)


def error_rates(
    cases: Iterable[Case], diarize: Callable[[Case], Annotation], collar: float = COLLAR_S
) -> dict[int, float]:
    """DER by number of speakers; `collar` seconds on either side of each turn's ends do not count."""
    metrics: dict[int, DiarizationErrorRate] = {}
    for case in cases:
        metric = metrics.setdefault(case.speakers, DiarizationErrorRate(collar=2 * collar))
        everything = Annotation(uri=case.reference.uri)
        everything[Segment(0, case.file["waveform"].shape[1] / SAMPLE_RATE)] = "file"
        metric(case.reference, diarize(case), uem=everything.get_timeline())
    return {speakers: abs(metric) for speakers, metric in metrics.items()}
