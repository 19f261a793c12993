"""What the HTTP API asks of the presets; the API knows no more of them than this."""

from dataclasses import dataclass
from typing import Literal, Protocol

from serve_app.options import RequestOptions
from serve_app.transcript import Transcript

State = Literal["ready", "asleep", "starting", "unhealthy"]


@dataclass(frozen=True, slots=True)
class PresetStatus:
    """Whether a preset can answer: `asleep` has no replica and wakes on the first request."""

    state: State
    message: str = ""


class Presets(Protocol):
    """The presets behind one HTTP API."""

    @property
    def names(self) -> list[str]:
        """The presets offered."""

    def resolve(self, model: str | None) -> str:
        """Return the preset that a `model` field names; raises `UnknownPreset`."""

    async def transcribe(self, preset: str, upload: bytes, options: RequestOptions) -> Transcript:
        """Transcribe one uploaded file with a preset."""

    async def status(self) -> dict[str, PresetStatus]:
        """Return every preset's state."""
