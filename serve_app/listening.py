"""What a pipeline hears of a file, in one pass: its speech windows and its blocks, as they come."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from pydantic import ValidationError

from serve_app.blocks import Block, BlockCutter
from serve_app.config import VadArgs
from serve_app.errors import BadRequest
from serve_app.flow import Clock
from serve_app.options import RequestOptions, SpeechOptions
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import Window

Upload = bytes | BinaryIO | Path
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class HeardWindow:
    """A window of speech and its samples, of one channel (counted from 0) where channels are heard apart."""

    window: Window
    samples: Audio
    channel: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HeardBlock:
    """A block of the file and its samples."""

    block: Block
    samples: Audio


@dataclass(frozen=True, slots=True)
class HeardEnd:
    """The end of the file: how many samples it has, and what is doubtful about it."""

    samples: int
    warnings: tuple[str, ...] = ()


Heard = HeardWindow | HeardBlock | HeardEnd


class SpeechStream(Protocol):
    """One file's windows, as its pieces come."""

    def feed(self, piece: Piece) -> list[tuple[Window, Audio]]:
        """Take the next piece; return the windows that are certain."""

    def close(self) -> list[tuple[Window, Audio]]:
        """Return the rest."""


class Listener:
    """Decodes and finds speech, for one request at a time; blocking, to be run in a thread.

    Memory: what `pieces`, the speech stream and the block cutter hold, some 25 MB for a file however long.
    """

    def __init__(
        self,
        pieces: Callable[[Upload, RequestOptions], Iterator[Piece]],
        speech: Callable[[RequestOptions], SpeechStream],
    ) -> None:
        self._pieces = pieces
        self._speech = speech

    def listen(self, upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        """Yield windows and, if speakers are told apart, blocks, each as soon as it is certain; the end comes last."""
        speech = self._speech(options)
        cutter = BlockCutter() if options.diarize else None
        stop = 0
        for piece in timed(self._pieces(upload, options), clock):
            stop = piece.stop
            yield from _blocks(cutter.feed(piece) if cutter else ())
            with clock.adding("vad"):
                found = speech.feed(piece)
            yield from _windows(found)
        with clock.adding("vad"):
            found = speech.close()
        yield from _windows(found)
        yield from _blocks(cutter.close() if cutter else ())
        yield HeardEnd(stop)


def speech_settings(args: VadArgs, wanted: SpeechOptions) -> VadArgs:
    """Return the preset's settings with a request's instead, as far as it has any; raises BadRequest."""
    changes = {name: value for name, value in asdict(wanted).items() if value is not None}
    try:
        return VadArgs.model_validate({**args.model_dump(), **changes}) if changes else args
    except ValidationError as error:
        raise BadRequest(f"chunking_strategy: {error.errors()[0]['msg']}", "chunking_strategy") from error


def timed(pieces: Iterator[T], clock: Clock) -> Iterator[T]:
    """Pass pieces on, and count the time that it takes to make them as `decode`."""
    while True:
        with clock.adding("decode"):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _windows(found: list[tuple[Window, Audio]]) -> Iterator[Heard]:
    yield from (HeardWindow(window, samples) for window, samples in found)


def _blocks(cut: "list[tuple[Block, Audio]] | tuple[()]") -> Iterator[Heard]:
    yield from (HeardBlock(block, samples) for block, samples in cut)
