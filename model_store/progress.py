"""Progress: what long work tells of itself, as bytes done and bytes in all."""

from collections.abc import Callable, Iterable, Iterator

Progress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """The default of everything that takes a `progress`."""


def counted(chunks: Iterable[bytes], done: int, total: int, progress: Progress) -> Iterator[bytes]:
    """The same chunks; after each, `progress` is told how far it is, from `done` on."""
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        progress(done, total)
