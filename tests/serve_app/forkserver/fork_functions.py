"""What a fork server is told to import in these tests."""

import threading


def fails() -> None:
    raise ImportError("no such library")


def starts_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def makes_an_id() -> None:
    from ray import WorkerID

    WorkerID.from_random()


def imports_colorsys() -> None:
    import colorsys  # noqa: F401
