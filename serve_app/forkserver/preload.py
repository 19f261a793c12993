"""What the fork server imports, in the order in which a service comes up.

Each is one name that `prepare` can be told, as `serve_app.forkserver.preload:whisper`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from unittest.mock import patch

SERVE, WHISPER, ALIGNMENT, DIARIZATION = (
    f"serve_app.forkserver.preload:{name}" for name in ("serve", "whisper", "alignment", "diarization")
)


def serve() -> None:
    """Serve's own actors and our deployments, the gateway's HTTP and the pipeline's reading of files."""
    from serve_app.models.environment import import_without

    with _ids_of_python():
        import_without("ray.serve", ("pandas",))  # which it imports to answer with data frames, and nobody here does
        for module in (
            "ray.serve._private.controller",
            "ray.serve._private.proxy",
            "ray.serve._private.replica",
            "serve_app.app",
        ):
            import_module(module)


@contextmanager
def _ids_of_python() -> Iterator[None]:
    """Have the actor classes of Ray's own modules named by Python while they are imported.

    Ray's generator of ids is seeded when it is first used; copies made after that would all make the same ids.
    """
    import ray.actor

    real = ray.actor.ActorClassID
    by_python = SimpleNamespace(from_random=lambda: real(os.urandom(real.size())))
    with patch.object(ray.actor, "ActorClassID", by_python):
        yield


def ids_differ() -> bool:
    """Tell whether two copies of this process make different ids."""
    return len({_id_of_a_copy() for _ in range(2)}) == 2


def _id_of_a_copy() -> bytes:
    from ray import WorkerID

    reading, writing = os.pipe()
    with open(reading, "rb") as told:
        if not os.fork():
            os.write(writing, WorkerID.from_random().binary())
            os._exit(0)
        os.close(writing)
        return told.read()


def whisper() -> None:
    """The default back end."""
    import_module("faster_whisper")


def alignment() -> None:
    """What an aligner needs, torch among it."""
    from serve_app.models.aligner import import_libraries

    import_libraries()


def diarization() -> None:
    """What the diarizer needs, torch among it."""
    from serve_app.models.diarizer import import_libraries

    import_libraries()
