"""Back ends by name: ours, and those of other packages, by entry points of the group `rayscribe.transcribers`."""

from importlib.metadata import EntryPoint, entry_points
from typing import cast

from serve_app.errors import LibraryLoadError, UnknownBackend, WrongSnapshot
from serve_app.models.transcribers.interface import Backend
from serve_app.strict import did_you_mean

GROUP = "rayscribe.transcribers"
DEFAULT = "faster-whisper"
OWN = {
    DEFAULT: "serve_app.models.transcribers.on_ctranslate2:FasterWhisper",
    "transformers": "serve_app.models.transcribers.on_transformers:TransformersWhisper",
    "whisper-cpp": "serve_app.models.transcribers.on_whisper_cpp:WhisperCpp",
}
"""Ours are found also where rayscribe runs from a checkout that was never installed."""


def names() -> list[str]:
    """Return the name of every back end there is."""
    return sorted(_points())


def check_name(name: str) -> None:
    """Raise `UnknownBackend`, which names what there is, unless a back end has this name; imports nothing."""
    if name not in (points := _points()):
        message = f"no transcription back end is named '{name}'{did_you_mean(name, sorted(points))}"
        raise UnknownBackend(f"{message}; another package's must be installed where this runs", "backend")


def backend(name: str) -> Backend:
    """Return the class of a back end; raises `UnknownBackend`, or `LibraryLoadError` where its module fails."""
    check_name(name)
    point = _points()[name]
    try:
        return cast(Backend, point.load())
    except (ImportError, AttributeError) as error:
        raise LibraryLoadError(
            f"the back end '{name}' ({point.value}) cannot be imported: {error}; mend or update its package", "backend"
        ) from error


def check_kind(name: str, kind: str, snapshot: str) -> None:
    """Raise `WrongSnapshot` unless the back end reads this kind of snapshot."""
    kinds = backend(name).kinds
    if kind not in kinds:
        raise WrongSnapshot(f"'{snapshot}' is a {kind}: {wrong_kind(name, kind)}", "model")


def wrong_kind(name: str, kind: str) -> str:
    """Say what the back end reads instead, and who reads this kind."""
    readers = [other for other in OWN if kind in backend(other).kinds]
    mend = f", or set backend: {readers[0]}" if readers else ""
    return f"backend {name} needs a {' or '.join(backend(name).kinds)}; publish one{mend}"


def _points() -> dict[str, EntryPoint]:
    """Ours come last, so that no other package takes their names."""
    others = {point.name: point for point in entry_points(group=GROUP)}
    return others | {name: EntryPoint(name, value, GROUP) for name, value in OWN.items()}
