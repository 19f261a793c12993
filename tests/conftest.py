"""What all tests share: the repository's places, and the audio that it ships with what is really said in it."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NO_HUB = frozenset({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} - os.environ.keys())


@dataclass(frozen=True)
class Sample:
    """A shipped file, and what is said in it: words with times and speakers, and turns."""

    path: Path
    reference: dict[str, Any]

    @property
    def words(self) -> list[str]:
        return [word["text"] for word in self.reference["words"]]


@pytest.fixture(autouse=True)
def _offline_is_for_replicas() -> Iterator[None]:
    """That a replica's model turns its process away from the hub is not to reach another test's children."""
    yield
    for name in NO_HUB:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def sample() -> Any:
    """Return a function from a name to a shipped sample: `sample("ten_seconds")`."""

    def find(name: str) -> Sample:
        folder = ROOT / "demo" if name == "conversation" else ROOT / "tests" / "data"
        return Sample(folder / f"{name}.flac", json.loads((folder / f"{name}.json").read_text()))

    return find
