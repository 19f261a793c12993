"""What a request asks of the stages: one frozen, hashable options object per stage."""

from dataclasses import dataclass, field
from typing import Literal

Task = Literal["transcribe", "translate"]

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""OpenAI's: each next one is tried when a window's text fails the thresholds."""


def schedule(temperature: float) -> tuple[float, ...]:
    """Return the temperatures to try for the one on OpenAI's wire: 0 is raised automatically, others are final."""
    return TEMPERATURES if temperature == 0 else (temperature,)


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a window is decoded; windows with equal options share a batch. `language` None: detect it.

    Temperature 0 searches with `beam_size` (None: the preset's) and `patience`, others sample `best_of` texts and keep
    the likeliest. A threshold of None is never failed; see `quality.judge`. `suppress_tokens` -1: the model's own list.
    """

    language: str | None = None
    task: Task = "transcribe"
    initial_prompt: str | None = None
    hotwords: str | None = None
    temperatures: tuple[float, ...] = TEMPERATURES
    beam_size: int | None = None
    patience: float = 1.0
    best_of: int = 5
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_blank: bool = True
    suppress_tokens: tuple[int, ...] = (-1,)
    suppress_numerals: bool = False
    logprob_threshold: float | None = -1.0
    compression_ratio_threshold: float | None = 2.4
    no_speech_threshold: float | None = 0.6
    token_probs: bool = False

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures is empty: name at least one, such as (0.0,)")


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
