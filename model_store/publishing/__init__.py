"""Publishing: from a source into a store."""
