"""What a request asks of the stages: one frozen, hashable options object per stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from serve_app.errors import BadRequest
from serve_app.windows import Clip

Task = Literal["transcribe", "translate"]
Channels = Literal["mix", "separate"]
MOST_CHANNELS = 8
"""Heard by themselves at most: each one costs as much as a file of its own."""


def hinted(language: str | None, hints: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the language that is known, if one is, else those that it may be: one hint alone is the language."""
    if language is None and len(hints) == 1:
        language = hints[0]
    return language, () if language else tuple(hints)


TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""OpenAI's: each next one is tried when a window's text fails the thresholds."""


def schedule(*temperatures: float) -> tuple[float, ...]:
    """Return the temperatures to try: 0 alone is raised automatically, another alone is final, several are a list."""
    return TEMPERATURES if temperatures == (0,) else temperatures


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
class KnownSpeaker:
    """A name, and the voice in a reference of its bearer as `Diarizer.embed` returns it."""

    name: str
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SpeakerOptions:
    """How many speakers to look for (None leaves it to the model), and those whose names are known.

    `embeddings`: the speakers' voices are wanted too. Raises BadRequest where the numbers contradict each other.
    """

    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: tuple[KnownSpeaker, ...] = ()
    embeddings: bool = False

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
class AlignOptions:
    """How words are placed; windows with equal options share a batch.

    `chars`: with the times of characters. `interpolate_method` is whisperx's: how what has no letter to be heard by
    gets its times from its neighbours; with `ignore` it gets none.
    """

    chars: bool = False
    interpolate_method: Literal["nearest", "linear", "ignore"] = "nearest"


@dataclass(frozen=True, slots=True)
class SpeechOptions:
    """What a request wants of the search for speech; None leaves it to the preset."""

    onset: float | None = None
    pad_ms: int | None = None
    min_silence_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A clip of 2 to 10 s in which one person talks whose name is known: a file of any kind that FFmpeg reads."""

    name: str
    file: bytes


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """One request: what of the file is heard, how it is decoded, whether words are placed and speakers told apart.

    `clips` are stretches in seconds, the only ones that are heard; none: the whole file. `language_per_window`: each
    window is decoded in the language that is heard in it. `languages` are the only ones that the file may be in; none:
    any that the model knows. Requests of the same file and equal options are done together while one is under way; a
    `nonce` sets a request apart. With `channels` as `separate` each channel of the file is heard by itself and is one
    speaker, of those in `channel_names` in order, then A, B, … by its place among all. Raises BadRequest where speakers
    are to be told apart in two ways.
    """

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    align: bool = True
    diarize: bool = False
    speakers: SpeakerOptions = field(default_factory=SpeakerOptions)
    references: tuple[Reference, ...] = ()
    speech: SpeechOptions = field(default_factory=SpeechOptions)
    placing: AlignOptions = field(default_factory=AlignOptions)
    clips: tuple[Clip, ...] = ()
    language_per_window: bool = False
    languages: tuple[str, ...] = ()
    nonce: str = ""
    channels: Channels = "mix"
    channel_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.channels == "separate":
            self._one_way_to_tell_speakers()

    def _one_way_to_tell_speakers(self) -> None:
        other_ways = {
            "diarize": self.diarize,
            "known_speaker_references": self.references,
            "speaker_embeddings": self.speakers.embeddings,
            "num_speakers": self.speakers != SpeakerOptions(),
        }
        for name in (name for name, wanted in other_ways.items() if wanted):
            raise BadRequest(
                f"{name} does not go with channels=separate, where every channel is one speaker; leave out one of them",
                name,
            )
