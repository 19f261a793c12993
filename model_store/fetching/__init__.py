"""Fetching: from a store into the node cache, by pieces, checked on the way."""
