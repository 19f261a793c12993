"""Trust: who signed a manifest, and what may come in."""
