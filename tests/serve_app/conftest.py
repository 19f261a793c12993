"""Paths of the repository that tests read."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test clips."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The folder of demo models."""
    return ROOT / "demo" / "models"
