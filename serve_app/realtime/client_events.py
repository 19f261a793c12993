"""What a client may say, as OpenAI's realtime API has it for transcription; what is not offered is refused by name."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serve_app.strict import Strict

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


def _nothing(value: Any) -> None:
    """Accept only null: the option is documented, and not offered."""
    if value is not None:
        raise ValueError("is not offered; leave it out, or send null")


NotOffered = Annotated[None, BeforeValidator(_nothing)]


class Pcm(Strict):
    """16-bit little-endian samples, mono."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[16_000, 24_000, 48_000] = 24_000


class ServerVad(Strict):
    """Utterances are cut where somebody is silent."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(default=0.5, gt=0.15, lt=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000)
    silence_duration_ms: int = Field(default=500, ge=100, le=10_000)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: NotOffered = None


class Transcription(Strict):
    """Which preset hears it, and what it is told."""

    model: str | None = None
    language: LanguageCode | None = None
    languages: list[LanguageCode] | None = None
    keywords: list[str] | None = None
    prompt: str | None = None
    delay: NotOffered = None


class AudioInput(Strict):
    """What is sent, and how it is heard."""

    format: Pcm = Field(default_factory=Pcm)
    transcription: Transcription = Field(default_factory=Transcription)
    turn_detection: ServerVad | None = Field(default_factory=ServerVad)
    noise_reduction: NotOffered = None


class SessionAudio(Strict):
    """The audio of a session: only what comes in."""

    input: AudioInput = Field(default_factory=AudioInput)


class Session(Strict):
    """A session's settings."""

    type: Literal["transcription"] = "transcription"
    audio: SessionAudio = Field(default_factory=SessionAudio)
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


class SessionUpdate(Strict):
    """`session.update`: new settings; what is left out becomes the default."""

    type: Literal["session.update"]
    event_id: str | None = None
    session: Session


class Append(Strict):
    """`input_audio_buffer.append`: more audio, as base64."""

    type: Literal["input_audio_buffer.append"]
    event_id: str | None = None
    audio: str


class Commit(Strict):
    """`input_audio_buffer.commit`: what was sent is an utterance."""

    type: Literal["input_audio_buffer.commit"]
    event_id: str | None = None


class Clear(Strict):
    """`input_audio_buffer.clear`: forget what was sent and is in no utterance yet."""

    type: Literal["input_audio_buffer.clear"]
    event_id: str | None = None


EVENTS: dict[str, type[SessionUpdate] | type[Append] | type[Commit] | type[Clear]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
}
