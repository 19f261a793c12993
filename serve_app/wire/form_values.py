"""Values of the form that are more than a word: stretches of time, and voices as data URLs."""

import base64
import binascii
import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from serve_app.errors import BadRequest
from serve_app.options import Reference
from serve_app.windows import Clip, stretches

MOST_REFERENCES = 20
MOST_TEMPERATURES = 11
"""A window that fails is decoded as often."""


def clips(text: str | None) -> tuple[Clip, ...]:
    """Read `start,end,start,end …` in seconds, as openai-whisper has it; raises BadRequest."""
    if text is None:
        return ()
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadRequest(
            f"clip_timestamps: '{text}' is no list of seconds; write start,end,start,end …", "clip_timestamps"
        ) from None
    found = tuple(zip_longest(seconds[::2], seconds[1::2]))
    stretches(found)
    return found


def temperatures(value: Any) -> Any:
    """Read one temperature or several, separated by commas, as they may be left out; pydantic checks each."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.split(",") if text else (0.0,)


Temperatures = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], ...],
    Field(max_length=MOST_TEMPERATURES),
    BeforeValidator(temperatures),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]}),
]
"""One temperature, or several that are tried in turn: a number, or a list as text."""


def server_vad(value: Any) -> Any:
    """Read OpenAI's `chunking_strategy`: an object, as JSON or already read, or a name; None for `auto`."""
    if not isinstance(value, str):
        return value
    if value == "auto":
        return None
    if value == "server_vad":
        return {"type": value}
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(f"'{value}' is neither auto nor server_vad nor an object") from None


def references(names: Sequence[str], urls: Sequence[str]) -> tuple[Reference, ...]:
    """Pair names with clips in which their bearers talk, each a data URL; raises BadRequest."""
    if len(names) != len(urls):
        raise BadRequest(
            f"{len(names)} known_speaker_names and {len(urls)} known_speaker_references; give one reference for each",
            "known_speaker_references",
        )
    if len(names) > MOST_REFERENCES:
        raise BadRequest(f"at most {MOST_REFERENCES} known speakers can be given", "known_speaker_names")
    return tuple(Reference(name, _data(name, url)) for name, url in zip(names, urls, strict=True))


def _data(name: str, url: str) -> bytes:
    head, comma, data = url.partition(",")
    try:
        if head.startswith("data:") and head.endswith(";base64") and comma:
            return base64.b64decode(data, validate=True)
    except binascii.Error:
        pass
    raise BadRequest(
        f"the reference of '{name}' is no data URL; send data:audio/wav;base64,…", "known_speaker_references"
    )
