"""The Transcription deployment's own class over each back end, loaded from a store as a replica loads it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import DirectoryStore, ModelInfo, publish
from model_store.sources import DirectorySource
from serve_app.config import StoreArgs, TranscriptionArgs
from serve_app.deployments import Transcription
from serve_app.errors import WrongSnapshot
from serve_app.models.transcribers.registry import backend
from serve_app.options import DecodeOptions
from serve_app.stages import Audio


def stored(tmp_path: Path, made: Path, kind: str) -> StoreArgs:
    store = DirectoryStore(tmp_path / "store")
    publish(DirectorySource(str(made), made), "demo", store, "v1", ModelInfo(kind, "MIT", ("en",)))
    return StoreArgs(url=str(store.root), cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["faster-whisper", "transformers", "whisper-cpp"])
async def test_a_replica_transcribes_by_the_back_end_of_its_config(
    name: str, snapshot_of: Callable[[str], Path], tmp_path: Path, ten_seconds: Audio
) -> None:
    if name == "whisper-cpp":
        pytest.importorskip("_pywhispercpp")
    store = stored(tmp_path, snapshot_of(name), backend(name).kinds[0])
    args = TranscriptionArgs(model="demo@v1", backend=name, device="cpu", threads=1, batch_size=2)
    text = await Transcription(args, store).transcribe(ten_seconds, DecodeOptions(), "one request")
    assert text.text.startswith(" he falls with his sister")
    assert (text.suspect, text.language) == (False, "en")


def test_a_replica_with_a_snapshot_of_another_kind_says_what_to_do(tmp_path: Path, demo_models: Path) -> None:
    store = stored(tmp_path, demo_models / "whisper", "whisper-ct2")
    args = TranscriptionArgs(model="demo@v1", backend="whisper-cpp", device="cpu")
    with pytest.raises(WrongSnapshot, match="needs a whisper-ggml; publish one, or set backend: faster-whisper"):
        Transcription(args, store)
