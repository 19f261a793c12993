"""From a snapshot to a loaded transcriber, with the batch size that was measured before; knows nothing of Ray."""

from importlib import import_module
from pathlib import Path

from model_store import Snapshot
from serve_app.config import TranscriptionArgs
from serve_app.models.transcribers.interface import Transcriber
from serve_app.models.transcribers.registry import backend, check_kind


def import_libraries(args: TranscriptionArgs) -> None:
    """Import what the back end's class needs, while its snapshot is still on its way; what lacks is told later."""
    for library in backend(args.backend).libraries[:1]:
        try:
            import_module(library.replace("-", "_"))
        except ImportError:
            return


def build(snapshot: Snapshot, args: TranscriptionArgs, threads: int, cache: Path | str) -> Transcriber:
    """Load a snapshot by the back end of the args; `cache` keeps what is measured.

    Raises a `BackendError`: no back end of that name, one that cannot read this kind, or a model that does not load.
    """
    from serve_app.models.calibration import Calibration, Measurable, batch_size_of

    about = snapshot.manifest
    check_kind(args.backend, about.kind, about.name)
    made = backend(args.backend)
    model = made(snapshot.path, args, about.languages, threads)
    if args.batch_size == "auto" and isinstance(model, Measurable):
        model.batch_size = batch_size_of(Calibration(model, args, cache, snapshot.digest, made.libraries))
    return model
