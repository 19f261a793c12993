"""Trains the demo Whisper from scratch: `python -m training.whisper --minutes 75 --out demo/models/whisper`."""
