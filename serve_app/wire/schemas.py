"""The wire: the form that `/v1/audio/transcriptions` takes, as OpenAI documents it, and what it answers with."""

from typing import Any, Literal, Self

from fastapi import UploadFile
from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.options import Channels, DecodeOptions, RequestOptions, SpeakerOptions, SpeechOptions, schedule
from serve_app.strict import Strict
from serve_app.wire.form_values import clips, references, server_vad
from serve_app.wire.uploads import check_source

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json", "rttm"]
SPEAKER_FORMATS = ("diarized_json", "rttm")
"""Formats that cannot do without speakers."""
STREAMED_FORMATS = ("json", "text", "diarized_json")
"""Formats that can come bit by bit."""
UNTIMED_FORMATS = ("json", "text", "rttm")
"""Formats that show no word's place, so that none is sought."""

REFUSED = {
    "include": "log-probabilities per token are not offered; verbose_json carries avg_logprob per segment",
    "languages": "give one language, or none to have it detected",
}
"""Documented options that are refused, never silently ignored, with what to do instead."""


ANY_SPEECH = SpeechOptions()


class ServerVad(Strict):
    """OpenAI's settings for how speech is found; what is left out is the preset's."""

    type: Literal["server_vad"]
    threshold: float | None = Field(default=None, gt=0, lt=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=5000)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)

    def options(self) -> SpeechOptions:
        """Return them by our names."""
        return SpeechOptions(self.threshold, self.prefix_padding_ms, self.silence_duration_ms)


class TranscriptionForm(Strict):
    """OpenAI's fields; those after `chunking_strategy` that OpenAI has not are additions."""

    file: UploadFile | SkipJsonSchema[None] = Field(
        default=None, description="audio or video, any container and codec that FFmpeg reads; its first audio stream"
    )
    url: str | None = Field(
        default=None, max_length=8192, description="instead of file: https:// or s3://, as far as it is allowed here"
    )
    model: str | None = Field(default=None, description="a preset, or a name that the gateway maps to one")
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}$", description="ISO 639 code; detected if absent")
    prompt: str | None = Field(default=None, description="text that could have come before, in the same language")
    temperature: float = Field(
        default=0.0, ge=0, le=1, description="0: beam search, raised if a text fails; else sampling"
    )
    response_format: ResponseFormat = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default_factory=list, alias="timestamp_granularities[]", description="with verbose_json only"
    )
    keywords: list[str] = Field(default_factory=list, alias="keywords[]", description="words to listen for")
    chunking_strategy: ServerVad | None = Field(
        default=None, description="speech is always cut at silence: auto, as the preset does; server_vad, as told"
    )
    diarize: bool | None = Field(default=None, description="tell speakers apart; diarized_json implies it")
    num_speakers: int | None = Field(default=None, ge=1, le=50)
    min_speakers: int | None = Field(default=None, ge=1, le=50)
    max_speakers: int | None = Field(default=None, ge=1, le=50)
    beam_size: int | None = Field(default=None, ge=1, le=16)
    hotwords: str | None = Field(default=None, description="as keywords, in one string")
    suppress_numerals: bool = Field(default=False, description="write numbers in words, so that they can be aligned")
    multilingual: bool = Field(default=False, description="hear the language of each window by itself")
    channels: Channels = Field(
        default="mix", description="separate: each channel (up to 8) is heard by itself and is one speaker"
    )
    clip_timestamps: str | None = Field(
        default=None, description="start,end,start,end … in seconds: only these are heard; the last end may be left out"
    )
    logprob_threshold: float | None = Field(default=-1.0, le=0, description="below it a window is decoded again")
    compression_ratio_threshold: float | None = Field(default=2.4, gt=0, description="above it likewise")
    no_speech_threshold: float | None = Field(default=0.6, ge=0, le=1, description="above it a doubtful text is none")
    stream: bool = Field(default=False, description="answer with server-sent events while the file is being heard")
    include: list[str] = Field(default_factory=list, alias="include[]")
    languages: list[str] = Field(default_factory=list, alias="languages[]")
    known_speaker_names: list[str] = Field(default_factory=list, alias="known_speaker_names[]")
    known_speaker_references: list[str] = Field(default_factory=list, alias="known_speaker_references[]")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return _gathered({key: value for key, value in values.items() if value != ""}, "chunking_strategy")
        return values

    @field_validator("chunking_strategy", mode="before")
    @classmethod
    def _as_an_object(cls, value: Any) -> Any:
        return server_vad(value)

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        check_source(self.file, self.url)
        return self

    def options(self) -> RequestOptions:
        """Return what this form asks of the stages; raises for options that are documented and not offered."""
        self._refuse()
        apart = self.channels == "separate"
        names, voices = self.known_speaker_names, self.known_speaker_references
        speakers = self.response_format in SPEAKER_FORMATS and not apart
        return RequestOptions(
            decode=DecodeOptions(
                language=self.language,
                initial_prompt=self.prompt,
                hotwords=", ".join([*self.keywords, *filter(None, [self.hotwords])]) or None,
                temperatures=schedule(self.temperature),
                beam_size=self.beam_size,
                suppress_numerals=self.suppress_numerals,
                logprob_threshold=self.logprob_threshold,
                compression_ratio_threshold=self.compression_ratio_threshold,
                no_speech_threshold=self.no_speech_threshold,
            ),
            align=apart or self.response_format not in UNTIMED_FORMATS,
            diarize=speakers if self.diarize is None else self.diarize,
            speakers=SpeakerOptions(self.num_speakers, self.min_speakers, self.max_speakers),
            references=() if apart and not voices else references(names, voices),
            speech=self.chunking_strategy.options() if self.chunking_strategy else ANY_SPEECH,
            clips=clips(self.clip_timestamps),
            language_per_window=self.multilingual and self.language is None,
            channels=self.channels,
            channel_names=tuple(names) if apart else (),
        )

    def _refuse(self) -> None:
        for name, mend in REFUSED.items():
            if getattr(self, name):
                raise UnsupportedOption(f"'{name}': {mend}", name)
        if self.stream and self.response_format not in STREAMED_FORMATS:
            formats = ", ".join(STREAMED_FORMATS)
            raise UnsupportedOption(
                f"'stream': {self.response_format} cannot come bit by bit; ask for {formats}, or leave stream out",
                "stream",
            )
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise BadRequest("timestamp_granularities needs response_format=verbose_json", "timestamp_granularities")
        if self.response_format in SPEAKER_FORMATS and self.diarize is False and self.channels == "mix":
            raise BadRequest(f"{self.response_format} cannot do without speakers; leave diarize out", "diarize")


def _gathered(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Make an object of `name[key]`, which is how OpenAI's clients send one in a form."""
    inner = {key[len(name) + 1 : -1]: key for key in values if key.startswith(f"{name}[") and key.endswith("]")}
    if not inner:
        return values
    rest = {key: value for key, value in values.items() if key not in inner.values()}
    return {**rest, name: {key: values[full] for key, full in inner.items()}}
