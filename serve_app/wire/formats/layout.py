"""How an answer is to look, besides its format."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """`granularities` are OpenAI's; the rest shapes subtitles, as openai-whisper's options of the same names do.

    `max_line_width` is in characters, `max_line_count` in lines per subtitle (only with a width), `max_words_per_line`
    in words (only without a width). `speaker_labels`: who talks is written where it is known. `languages`: json says
    which language was heard. `logprobs`: json carries those of all tokens.
    `speaker_embeddings`: the speakers' voices are written, where they were kept.
    """

    granularities: tuple[str, ...] = ()
    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    highlight_words: bool = False
    speaker_labels: bool = True
    logprobs: bool = False
    speaker_embeddings: bool = False


PLAIN = Layout()
