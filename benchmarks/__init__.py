"""Measurements of a running service, each against something in the same run; results as JSON."""
