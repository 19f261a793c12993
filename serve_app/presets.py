"""What the HTTP API asks of the presets; the API knows no more of them than this."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from serve_app.events import Event
from serve_app.facts import PresetFacts
from serve_app.listening import Upload
from serve_app.options import RequestOptions
from serve_app.transcript import Transcript

State = Literal["ready", "asleep", "starting", "unhealthy"]


@dataclass(frozen=True, slots=True)
class PresetStatus:
    """Whether a preset can answer: `asleep` has no replica and wakes on the first request.

    `replicas` are those that run, by deployment.
    """

    state: State
    message: str = ""
    replicas: Mapping[str, int] = field(default_factory=dict)


class Presets(Protocol):
    """The presets behind one HTTP API.

    An upload is the bytes of a file, the place of one, or an open one that can seek, which stays the caller's.
    """

    @property
    def names(self) -> list[str]:
        """The presets offered."""

    def resolve(self, model: str | None) -> str:
        """Return the preset that a `model` field names; raises `UnknownPreset`."""

    async def transcribe(self, preset: str, upload: Upload, options: RequestOptions) -> Transcript:
        """Transcribe one file with a preset."""

    def stream(self, preset: str, upload: Upload, options: RequestOptions) -> AsyncGenerator[Event]:
        """Transcribe one file and tell of it as it goes; `Done` is the last event. Closing it gives the work up."""

    async def status(self) -> dict[str, PresetStatus]:
        """Return every preset's state."""

    async def facts(self) -> dict[str, PresetFacts]:
        """Return what the presets are made of, of those that are ready; none is woken."""
