"""The names that Whisper's users know its models by → the names that the catalog gives their snapshots."""

import logging

WHISPER_NAMES = {name: name for name in ("tiny", "base", "small", "medium", "large-v2", "large-v3")} | {
    **{f"{name}.en": f"{name}.en" for name in ("tiny", "base", "small", "medium")},
    "large": "large-v3",
    "turbo": "large-v3-turbo",
    "large-v3-turbo": "large-v3-turbo",
}
SUFFIXES = {"faster-whisper": "", "transformers": "-transformers", "whisper-cpp": "-ggml"}
"""What a snapshot's name ends in, as each back end reads another kind."""
NOTES = {
    "turbo": "turbo means large-v3-turbo; where your old service took it for another model, name that one to have its "
    "texts again",
    "large": "large means large-v3; name large-v2 to have the one before",
}
logger = logging.getLogger(__name__)


def resolve_name(model: str, backend: str) -> str:
    """Return the snapshot's name for a Whisper name, such as `whisper-tiny-ggml`; other names are themselves.

    A back end of another package reads what faster-whisper reads, unless a snapshot is named in full.
    """
    if model not in WHISPER_NAMES:
        return model
    if note := NOTES.get(model):
        logger.info(note)
    return f"whisper-{WHISPER_NAMES[model]}{SUFFIXES.get(backend, '')}"
