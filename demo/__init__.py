"""The one-minute tour: starts the service on the demo models, and shows a conversation transcribed by it."""
