"""The default transcription model by its first name; it lives in `transcribers` beside the others."""

from serve_app.models.transcribers.on_ctranslate2 import FORCED_TOKENS, FasterWhisper

Transcriber = FasterWhisper

__all__ = ["FORCED_TOKENS", "Transcriber"]
