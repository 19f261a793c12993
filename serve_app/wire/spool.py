"""Where files wait on their way through this process."""

from tempfile import SpooledTemporaryFile

from fastapi import UploadFile

IN_MEMORY = 1 << 20
"""Bytes that are held in memory before a file goes to the disk, as Starlette holds those of forms."""


def spooled() -> UploadFile:
    """Return an empty file, in the directory for temporary files once it is large; it has no name there."""
    file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # whoever asked closes it
    return UploadFile(file, size=0, filename="body")  # type: ignore[arg-type]  # as Starlette's parser does
