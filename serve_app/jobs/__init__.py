"""Jobs: long files that are taken on now, done when there is room, and asked for later; neither Ray nor a model."""
