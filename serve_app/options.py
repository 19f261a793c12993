"""What a request asks of the stages: one frozen, hashable options object per stage."""

from dataclasses import dataclass, field
from typing import Literal

from serve_app.errors import BadRequest

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
class KnownSpeaker:
    """A name, and the voice in a reference of its bearer as `Diarizer.embed` returns it."""

    name: str
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """How many speakers to look for (None leaves it to the model), and those whose names are known.

    Raises BadRequest where the numbers contradict each other.
    """

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: tuple[KnownSpeaker, ...] = ()

    def __post_init__(self) -> None:
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise BadRequest(f"{name} is {value}; give at least 1, or leave it out", name)
        self._check("min_speakers", "max_speakers")
        self._check("num_speakers", "max_speakers")
        self._check("min_speakers", "num_speakers")

    def _check(self, lower: str, upper: str) -> None:
        least, most = getattr(self, lower), getattr(self, upper)
        if least is not None and most is not None and least > most:
            raise BadRequest(f"{lower} ({least}) is above {upper} ({most}); lower it, or leave one of them out", lower)


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """One request: decoding, whether words are placed in time, and whether speakers are told apart."""

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    align: bool = True
    diarize: bool = False
    speakers: SpeakerOptions = field(default_factory=SpeakerOptions)
