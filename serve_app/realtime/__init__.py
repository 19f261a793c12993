"""Live audio: sessions that follow OpenAI's realtime transcription, over any presets; no Ray, no web framework."""
