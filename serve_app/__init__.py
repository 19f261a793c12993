"""rayscribe's Ray Serve applications: presets of transcription, alignment and diarization, and the gateway."""
