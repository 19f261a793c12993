"""The wire: OpenAI's audio API over presets, as an ASGI app; knows neither Ray nor any model."""
