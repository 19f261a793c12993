"""How each stage's model is loaded from its snapshot: the libraries it needs, and the class that it becomes."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from model_store import Snapshot
from serve_app.config import AlignmentArgs, DiarizationArgs, StoreArgs, TranscriptionArgs
from serve_app.loading import gpu_share, load, threads_for

T = TypeVar("T")


def load_transcriber(args: TranscriptionArgs, store: StoreArgs) -> Any:
    """Load the Whisper snapshot of a transcription stage, by the back end of its args."""
    from serve_app.models.environment import go_offline
    from serve_app.models.transcribers.building import build, import_libraries

    go_offline()
    threads = threads_for(args.threads)
    return load(
        args.model,
        store,
        lambda: import_libraries(args),
        _within_share(lambda snapshot: build(snapshot, args, threads, store.cache)),
    )


def load_aligner(args: AlignmentArgs, store: StoreArgs, language: str) -> Any:
    """Load the aligner of one language."""
    from serve_app.models.aligner import Aligner, import_libraries
    from serve_app.models.environment import go_offline

    go_offline()
    threads = threads_for(args.threads)
    return load(
        args.models[language],
        store,
        import_libraries,
        _within_share(lambda snapshot: Aligner(snapshot.path, args, language, threads)),
    )


def load_diarizer(args: DiarizationArgs, store: StoreArgs) -> Any:
    """Load the pyannote pipeline of a diarization stage."""
    from serve_app.models.diarizer import Diarizer, import_libraries
    from serve_app.models.environment import go_offline

    go_offline()
    threads = threads_for(args.threads)
    return load(
        args.model or "",
        store,
        import_libraries,
        _within_share(lambda snapshot: Diarizer(snapshot.path, args, threads)),
    )


def _within_share(build: Callable[[Snapshot], T]) -> Callable[[Snapshot], T]:
    """Keep torch, where the model runs on it, within the replica's share of its GPU before the model is built."""
    from serve_app.models.devices import cap_torch

    def build_within(snapshot: Snapshot) -> T:
        if "torch" in sys.modules:
            cap_torch(gpu_share())
        return build(snapshot)

    return build_within
