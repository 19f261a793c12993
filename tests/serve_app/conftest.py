"""Paths of the repository that tests read, and what is told of a GPU that is not there."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.models import devices

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test clips."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The folder of demo models."""
    return ROOT / "demo" / "models"


class Lines(logging.Handler):
    """The lines that a logger writes."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What our logger warns of, in a process that has not yet told of its GPU."""
    monkeypatch.setattr(devices, "_told", [])
    handler = Lines(logging.WARNING)
    devices.logger.addHandler(handler)
    yield handler.lines
    devices.logger.removeHandler(handler)
