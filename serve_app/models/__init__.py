"""The code that touches audio and model libraries: one class each, given a local path; nothing loads at import."""
