"""Transcription back ends: one class each, all behind `interface.Transcriber`; `registry` finds them by name."""
