"""What a preset is made of and how quick it was seen to be, for its users to read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from serve_app.transcript import Transcript


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A snapshot that a replica has loaded; no languages: all that its kind of model knows."""

    name: str
    revision: str
    digest: str
    kind: str = ""
    licence: str = ""
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageFacts:
    """A stage as one of its replicas sees itself."""

    device: str
    models: tuple[ModelFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class PresetFacts:
    """A preset as one replica of its pipeline sees it.

    `real_time_factor` is seconds of work per second of audio over the `files` that it has finished; None without any.
    """

    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    borrowed: Mapping[str, str] = field(default_factory=dict)
    real_time_factor: float | None = None
    files: int = 0


class Speed:
    """How quick the work on finished files was."""

    def __init__(self) -> None:
        self.files = 0
        self._audio_s = self._work_s = 0.0

    def add(self, transcript: Transcript) -> None:
        """Count a finished file."""
        self.files += 1
        self._audio_s += transcript.heard_s
        self._work_s += transcript.timings.get("total", 0.0)

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work per second of audio; None before the first file."""
        return self._work_s / self._audio_s if self._audio_s else None
