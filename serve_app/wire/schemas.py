"""The forms that `/v1/audio/transcriptions` and `/v1/audio/translations` take, as OpenAI documents them."""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from fastapi import UploadFile
from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.options import Channels, DecodeOptions, RequestOptions, SpeakerOptions, SpeechOptions, hinted, schedule
from serve_app.strict import Strict
from serve_app.wire.form_values import Temperatures, clips, references, server_vad
from serve_app.wire.output_fields import OutputFields
from serve_app.wire.uploads import check_source

SPEAKER_FORMATS = ("diarized_json", "rttm")
"""Formats that cannot do without speakers."""
SPEAKERLESS_FORMATS = ("json", "text", "tsv", "ctm")
"""Formats that have no place for speakers."""
OF_SPEAKERS = ("num_speakers", "min_speakers", "max_speakers", "speaker_embeddings")
"""Fields that have no effect where speakers are not told apart by their voices."""
TranslationFormat = Literal["json", "text", "srt", "verbose_json", "vtt", "tsv", "whisper_json"]
UNTIMED_FORMATS = ("json", "text", "rttm")
"""Formats that show no word's place, so that none is sought."""

ANY_SPEECH = SpeechOptions()
LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class ServerVad(Strict):
    """OpenAI's settings for how speech is found; what is left out is the preset's."""

    type: Literal["server_vad"]
    threshold: float | None = Field(default=None, gt=0, lt=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=5000)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=10_000)

    def options(self) -> SpeechOptions:
        """Return them by our names."""
        return SpeechOptions(self.threshold, self.prefix_padding_ms, self.silence_duration_ms)


class TranscriptionForm(OutputFields):
    """OpenAI's fields; those after `chunking_strategy` that OpenAI has not are additions."""

    file: UploadFile | SkipJsonSchema[None] = Field(
        default=None, description="audio or video, any container and codec that FFmpeg reads; its first audio stream"
    )
    url: str | None = Field(
        default=None, max_length=8192, description="instead of file: https:// or s3://, as far as it is allowed here"
    )
    model: str | None = Field(default=None, description="a preset, or a name that the gateway maps to one")
    language: LanguageCode | None = Field(default=None, description="ISO 639 code; detected if absent")
    prompt: str | None = Field(default=None, description="text that could have come before, in the same language")
    initial_prompt: str | None = Field(default=None, description="openai-whisper's name of prompt")
    temperature: Temperatures = Field(
        default=(0.0,), description="0: beam search, raised if a text fails; else sampling; several: tried in turn"
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
    languages: list[LanguageCode] = Field(
        default_factory=list, alias="languages[]", description="those that it may be in; which one is heard in the file"
    )
    known_speaker_names: list[str] = Field(default_factory=list, alias="known_speaker_names[]")
    known_speaker_references: list[str] = Field(default_factory=list, alias="known_speaker_references[]")

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return gathered({key: value for key, value in values.items() if value != ""}, "chunking_strategy")
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
        """Return what this form asks of the stages; raises for fields that do not go together."""
        self._check_together()
        language, languages = hinted(self.language, self.languages)
        apart = self.channels == "separate"
        names, voices = self.known_speaker_names, self.known_speaker_references
        return RequestOptions(
            decode=DecodeOptions(
                language=language,
                initial_prompt=self.prompt or self.initial_prompt,
                hotwords=", ".join([*self.keywords, *filter(None, [self.hotwords])]) or None,
                temperatures=schedule(*self.temperature),
                beam_size=self.beam_size,
                suppress_numerals=self.suppress_numerals,
                logprob_threshold=self.logprob_threshold,
                compression_ratio_threshold=self.compression_ratio_threshold,
                no_speech_threshold=self.no_speech_threshold,
                token_probs=self.wants_logprobs,
            ),
            align=apart or self.response_format not in UNTIMED_FORMATS,
            diarize=self._diarizes,
            speakers=SpeakerOptions(
                self.num_speakers, self.min_speakers, self.max_speakers, embeddings=self.speaker_embeddings
            ),
            references=() if apart and not voices else references(names, voices),
            speech=self.chunking_strategy.options() if self.chunking_strategy else ANY_SPEECH,
            clips=clips(self.clip_timestamps),
            language_per_window=self.multilingual and self.language is None,
            languages=languages,
            channels=self.channels,
            channel_names=tuple(names) if apart else (),
        )

    @property
    def _diarizes(self) -> bool:
        """Whether speakers are told apart by their voices."""
        implied = self.response_format in SPEAKER_FORMATS and self.channels == "mix"
        return implied if self.diarize is None else self.diarize

    def _check_together(self) -> None:
        self.layout()
        if self.response_format in SPEAKER_FORMATS and self.diarize is False and self.channels == "mix":
            raise BadRequest(f"{self.response_format} cannot do without speakers; leave diarize out", "diarize")
        if self.language and self.languages and self.language not in self.languages:
            raise BadRequest(f"language '{self.language}' is none of languages; give one of the two", "languages")
        if self.multilingual and self.languages:
            raise UnsupportedOption("'languages' cannot be told window by window; leave multilingual out", "languages")
        if self.multilingual and self.language:
            raise BadRequest(
                "multilingual hears each window's language, language is given; leave one out", "multilingual"
            )
        if self.beam_size is not None and 0 not in self.temperature:
            raise BadRequest("beam_size has no effect where temperature is above 0; leave one of them out", "beam_size")
        if self.prompt and self.initial_prompt:
            raise BadRequest("initial_prompt is another name of prompt; give one of the two", "initial_prompt")
        self._check_speakers()
        self._check_shown()

    def _check_speakers(self) -> None:
        """See that nothing is asked of speakers who are not told apart; of channels `RequestOptions` does."""
        if self._diarizes or self.channels == "separate":
            return
        for name in (name for name in self._of_speakers() if getattr(self, name)):
            raise BadRequest(f"{name} needs speakers to be told apart; ask for diarized_json, or leave it out", name)

    def _of_speakers(self) -> tuple[str, ...]:
        """Return the fields that need speakers; OpenAI takes those of known ones with json and text, too."""
        if self.response_format in ("json", "text") and self.diarize is None:
            return OF_SPEAKERS
        return (*OF_SPEAKERS, "known_speaker_names", "known_speaker_references")

    def _check_shown(self) -> None:
        """See that speakers who are told apart can be told of."""
        if self._diarizes and self.channels == "mix" and self.response_format in SPEAKERLESS_FORMATS:
            raise BadRequest(
                f"diarize: {self.response_format} shows no speakers; ask for diarized_json, or leave diarize out",
                "diarize",
            )


class TranslationForm(TranscriptionForm):
    """The same of a text in English, whose words have no places: what needs these is not offered."""

    response_format: TranslationFormat = "json"

    def options(self) -> RequestOptions:
        """Return what this form asks of the stages; raises for fields that do not go together."""
        if "word" in self.timestamp_granularities:
            raise UnsupportedOption(
                "the words of a translation have no times; ask for segment", "timestamp_granularities"
            )
        options = super().options()
        return replace(options, align=False, decode=replace(options.decode, task="translate"))


def gathered(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Make an object of `name[key]`, which is how OpenAI's clients send one in a form."""
    inner = {key[len(name) + 1 : -1]: key for key in values if key.startswith(f"{name}[") and key.endswith("]")}
    if not inner:
        return values
    rest = {key: value for key, value in values.items() if key not in inner.values()}
    return {**rest, name: {key: values[full] for key, full in inner.items()}}
