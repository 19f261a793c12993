"""An upload, however it came, as an open file."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from serve_app.listening import Upload


@contextmanager
def opened(upload: Upload) -> Iterator[BinaryIO]:
    """Lend an upload as a file at its start; one that was open before stays open."""
    if isinstance(upload, bytes):
        yield BytesIO(upload)
    elif isinstance(upload, Path):
        with upload.open("rb") as file:
            yield file
    else:
        upload.seek(0)
        yield upload
