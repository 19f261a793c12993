"""Trains the demo Whisper from scratch: `python -m training.whisper --minutes 55 --out demo/models/whisper`."""
