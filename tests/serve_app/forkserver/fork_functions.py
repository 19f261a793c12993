"""What a fork server is told to import in these tests."""

import mmap
import tempfile
import threading

_mapped: list[mmap.mmap] = []


def fails() -> None:
    raise ImportError("no such library")


def lacks_a_module() -> None:
    raise ModuleNotFoundError("an image without it")


def starts_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def loads_a_driver() -> None:
    """Map a file of the name of the GPUs' driver, as loading it does."""
    with tempfile.NamedTemporaryFile(suffix="libcuda.so.1") as file:
        file.write(b"driver")
        file.flush()
        _mapped.append(mmap.mmap(file.fileno(), 0))


def makes_an_id() -> None:
    from ray import WorkerID

    WorkerID.from_random()


def imports_colorsys() -> None:
    import colorsys  # noqa: F401
