"""The demo Whisper in each back end's format, made from the shipped files once, and each back end loaded once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from serve_app.config import TranscriptionArgs
from serve_app.models.audio import decode
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.registry import backend
from serve_app.stages import Audio

BACKENDS = ("faster-whisper", "transformers", "whisper-cpp")


@pytest.fixture(scope="session")
def snapshot_of(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a back end to the demo Whisper in its format."""

    @cache
    def make(name: str) -> Path:
        shipped, out = demo_models / "whisper", tmp_path_factory.mktemp(name)
        if name == "transformers":
            from training.whisper.restore import to_transformers_folder

            return to_transformers_folder(shipped, out)
        if name == "whisper-cpp":
            from training.whisper.to_ggml import to_ggml

            return to_ggml(shipped, out / "ggml-demo.bin").parent
        return shipped

    return make


@pytest.fixture(scope="session")
def loaded(snapshot_of: Callable[[str], Path]) -> Callable[..., Transcriber]:
    """Return a function from a back end and the snapshot's languages to a loaded one; loaded once."""

    @cache
    def load(name: str, languages: tuple[str, ...] = ("en",), **args: Any) -> Transcriber:
        asked = TranscriptionArgs(model="demo-whisper", device="cpu", backend=name, **args)
        return backend(name)(snapshot_of(name), asked, languages, 1)

    return load


@pytest.fixture(scope="session", params=BACKENDS)
def model(request: pytest.FixtureRequest, loaded: Callable[..., Transcriber]) -> Transcriber:
    """Each back end in turn; whisper.cpp's is an extra."""
    if request.param == "whisper-cpp":
        pytest.importorskip("_pywhispercpp")
    return loaded(request.param)


@pytest.fixture(scope="session")
def speech(data: Path) -> Audio:
    return decode((data / "two_minutes.flac").read_bytes())


@pytest.fixture(scope="session")
def ten_seconds(data: Path) -> Audio:
    return decode((data / "ten_seconds.flac").read_bytes())
