"""What a request asks of the stages: one frozen, hashable options object per stage."""

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a window is decoded; windows with equal options share a batch. `language` None: detect it."""

    language: str | None = None
    task: Task = "transcribe"
    initial_prompt: str | None = None
    hotwords: str | None = None
    temperature: float = 0.0
    beam_size: int | None = None


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """How many speakers to look for; None leaves it to the model."""

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """One request: decoding, whether words are placed in time, and whether speakers are told apart."""

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    align: bool = True
    diarize: bool = False
    speakers: SpeakerOptions = field(default_factory=SpeakerOptions)
