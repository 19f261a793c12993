"""What was said, when, and by whom. All times are seconds from the start of the file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

UNSPACED_LANGUAGES = frozenset({"ja", "zh", "yue", "th", "lo", "my", "km"})
"""Languages written without spaces between words: their segments are joined without one."""


def between(language: str) -> str:
    """Return what stands between words and between segments of a language."""
    return "" if language in UNSPACED_LANGUAGES else " "


@dataclass(frozen=True, slots=True)
class Word:
    """One word; `start` and `end` are None where it was not placed, `score` is the aligner's confidence in 0-1.

    Times without a score are those of the neighbourhood: the aligner knows none of the word's letters ("2014", "£").
    `probability` is the decoder's, the mean over the word's tokens, where it was asked for.
    """

    text: str
    start: float | None
    end: float | None
    score: float | None = None
    speaker: str | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Char:
    """One character; spaces have no times, what the aligner does not know has times and no `score`."""

    text: str
    start: float | None
    end: float | None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text, and its log-probability among all text tokens."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or what one window held; the decoder's figures are those of the window that it came from.

    `avg_logprob` is the mean log-probability per token, `compression_ratio` the text's bytes over its zlib bytes,
    `no_speech_prob` the probability of the no-speech token, `seek` the window's first 10 ms frame. `suspect`: the
    window's text passed the thresholds at no temperature, or a loop was cut. `chars` are all characters of the text,
    where they were asked for; `logprobs` those of the tokens likewise.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    seek: int = 0
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    chars: tuple[Char, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """A stretch in which one speaker is heard; turns of different speakers may overlap."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The result for one file. `timings` are seconds per part of the work, `warnings` what was left undone and why.

    `duration` is the file's, `clipped` how much of it was heard where only clips were asked for, in seconds. `voices`
    are the speakers' embeddings, if they were asked for.
    """

    language: str
    duration: float
    segments: tuple[Segment, ...] = ()
    turns: tuple[SpeakerTurn, ...] = ()
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    voices: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    task: Literal["transcribe", "translate"] = "transcribe"
    clipped: float | None = None

    @property
    def heard_s(self) -> float:
        """Seconds that were heard: the whole file's, or those of the clips."""
        return self.duration if self.clipped is None else self.clipped

    @property
    def text(self) -> str:
        """The whole text on one line."""
        return between(self.language).join(text for segment in self.segments if (text := segment.text.strip()))

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order."""
        return tuple(word for segment in self.segments for word in segment.words)
