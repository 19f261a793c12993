"""The fields of a form that say how the answer is to look."""

from typing import Literal

from pydantic import Field

from serve_app.errors import BadRequest, UnsupportedOption
from serve_app.strict import Strict
from serve_app.wire.formats import Layout

ResponseFormat = Literal[
    "json", "text", "srt", "vtt", "verbose_json", "diarized_json", "tsv", "ctm", "rttm", "whisper_json"
]
STREAMED_FORMATS = ("json", "text", "diarized_json")
"""Formats that can come bit by bit."""
WORD_FORMATS = ("verbose_json", "whisper_json")
"""Formats that can carry words."""
VOICE_FORMATS = ("verbose_json", "diarized_json", "whisper_json")
"""Formats that can carry the speakers' voices."""
SUBTITLES = ("srt", "vtt")
SHAPES = ("max_line_width", "max_line_count", "max_words_per_line", "highlight_words", "speaker_labels")
"""Fields that only subtitles have a use for."""


class OutputFields(Strict):
    """`response_format` and what goes with it; those after `include` are additions of ours."""

    response_format: ResponseFormat = "json"
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default_factory=list, alias="timestamp_granularities[]", description="with verbose_json and whisper_json only"
    )
    stream: bool = Field(default=False, description="answer with server-sent events while the file is being heard")
    include: list[Literal["logprobs"]] = Field(
        default_factory=list, alias="include[]", description="logprobs: those of all tokens, with json only"
    )
    word_probabilities: bool = Field(default=False, description="the decoder's, for each word, where words are shown")
    speaker_embeddings: bool = Field(
        default=False, description="each speaker's voice as numbers, where speakers are told apart"
    )
    max_line_width: int | None = Field(default=None, ge=1, le=1000, description="characters, in srt and vtt")
    max_line_count: int | None = Field(
        default=None, ge=1, le=100, description="lines per subtitle, with max_line_width: text flows over segments"
    )
    max_words_per_line: int | None = Field(default=None, ge=1, le=100, description="words per subtitle")
    highlight_words: bool | None = Field(default=None, description="underline each word in srt and vtt as it is said")
    speaker_labels: bool | None = Field(default=None, description="write who talks in srt and vtt; on, where known")

    @property
    def wants_logprobs(self) -> bool:
        """Whether the decoder has to tell the probabilities of its tokens."""
        return bool(self.include) or self.word_probabilities

    def layout(self) -> Layout:
        """Return how the answer is to look; raises for fields that do not go together."""
        self._check()
        return Layout(
            granularities=tuple(self.timestamp_granularities),
            max_line_width=self.max_line_width,
            max_line_count=self.max_line_count,
            max_words_per_line=self.max_words_per_line,
            highlight_words=bool(self.highlight_words),
            speaker_labels=self.speaker_labels is not False,
            logprobs=bool(self.include),
            speaker_embeddings=self.speaker_embeddings,
        )

    def _check(self) -> None:
        if self.stream:
            self._needs("stream", STREAMED_FORMATS, UnsupportedOption)
        if self.timestamp_granularities:
            self._needs("timestamp_granularities", WORD_FORMATS)
        if self.include:
            self._needs("include", ("json",))
        if self.word_probabilities:
            self._needs("word_probabilities", WORD_FORMATS)
        if self.speaker_embeddings:
            self._needs("speaker_embeddings", VOICE_FORMATS)
        for name in SHAPES:
            if getattr(self, name) is not None:
                self._needs(name, SUBTITLES)
        if self.max_line_count is not None and self.max_line_width is None:
            raise BadRequest("max_line_count needs max_line_width", "max_line_count")
        if self.max_words_per_line is not None and self.max_line_width is not None:
            raise BadRequest("give either max_line_width or max_words_per_line", "max_words_per_line")

    def _needs(self, name: str, formats: tuple[str, ...], error: type[BadRequest] = BadRequest) -> None:
        if self.response_format not in formats:
            wanted = " or ".join(formats)
            raise error(f"{name} needs response_format={wanted}, not {self.response_format}; or leave it out", name)
