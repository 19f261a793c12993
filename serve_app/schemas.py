"""The wire: the form that `/v1/audio/transcriptions` takes, as OpenAI documents it, and what it answers with."""

from typing import Any, Literal

from fastapi import UploadFile
from pydantic import Field, model_validator

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.options import DecodeOptions, RequestOptions, SpeakerOptions, schedule
from serve_app.strict import Strict

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json", "rttm"]
SPEAKER_FORMATS = ("diarized_json", "rttm")
"""Formats that cannot do without speakers."""
UNTIMED_FORMATS = ("json", "text", "rttm")
"""Formats that show no word's place, so that none is sought."""

REFUSED = {
    "stream": "streaming is not offered yet; leave stream out and read the whole answer",
    "include": "log-probabilities per token are not offered; verbose_json carries avg_logprob per segment",
    "languages": "give one language, or none to have it detected",
    "known_speaker_names": "known speakers are not offered; speakers are named A, B, … in order of appearance",
    "known_speaker_references": "known speakers are not offered; speakers are named A, B, … in order of appearance",
}
"""Documented options that are refused, never silently ignored, with what to do instead."""


class TranscriptionForm(Strict):
    """OpenAI's fields; `diarize`, `num_speakers`, `min_speakers`, `max_speakers`, `beam_size` are additions."""

    file: UploadFile = Field(description="audio or video, any container and codec that FFmpeg reads")
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
    chunking_strategy: str | None = Field(default=None, description="only 'auto': speech is always cut at silence")
    diarize: bool | None = Field(default=None, description="tell speakers apart; diarized_json implies it")
    num_speakers: int | None = Field(default=None, ge=1, le=50)
    min_speakers: int | None = Field(default=None, ge=1, le=50)
    max_speakers: int | None = Field(default=None, ge=1, le=50)
    beam_size: int | None = Field(default=None, ge=1, le=16)
    stream: bool | None = None
    include: list[str] = Field(default_factory=list, alias="include[]")
    languages: list[str] = Field(default_factory=list, alias="languages[]")
    known_speaker_names: list[str] = Field(default_factory=list, alias="known_speaker_names[]")
    known_speaker_references: list[str] = Field(default_factory=list, alias="known_speaker_references[]")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {_outermost(key): value for key, value in values.items() if value != ""}
        return values

    def options(self) -> RequestOptions:
        """Return what this form asks of the stages; raises for options that are documented and not offered."""
        self._refuse()
        diarize = self.diarize if self.diarize is not None else self.response_format in SPEAKER_FORMATS
        return RequestOptions(
            decode=DecodeOptions(
                language=self.language,
                initial_prompt=self.prompt,
                hotwords=", ".join(self.keywords) or None,
                temperatures=schedule(self.temperature),
                beam_size=self.beam_size,
            ),
            align=self.response_format not in UNTIMED_FORMATS,
            diarize=diarize,
            speakers=SpeakerOptions(self.num_speakers, self.min_speakers, self.max_speakers),
        )

    def _refuse(self) -> None:
        for name, mend in REFUSED.items():
            if getattr(self, name):
                raise UnsupportedOption(f"'{name}': {mend}", name)
        if self.chunking_strategy not in (None, "auto"):
            raise UnsupportedOption("'chunking_strategy': only 'auto' is offered", "chunking_strategy")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise BadRequest("timestamp_granularities needs response_format=verbose_json", "timestamp_granularities")
        if self.response_format in SPEAKER_FORMATS and self.diarize is False:
            raise BadRequest(f"{self.response_format} cannot do without speakers; leave diarize out", "diarize")


def _outermost(key: str) -> str:
    """Return `chunking_strategy` for `chunking_strategy[type]`: OpenAI's clients send its object in brackets."""
    return key.partition("[")[0] if key.startswith("chunking_strategy[") else key
