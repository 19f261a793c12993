"""What a pipeline hears of a file, in one pass: its speech windows and its blocks, as they come."""

from collections.abc import Callable, Generator, Iterator, Sequence
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
from serve_app.windows import Clip, Window, stretches

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
    """The end of the file: how many samples it has, what is doubtful about it, and how many of them clips asked for."""

    samples: int
    warnings: tuple[str, ...] = ()
    clipped: int | None = None


Heard = HeardWindow | HeardBlock | HeardEnd


class SpeechStream(Protocol):
    """One file's windows, as its pieces come."""

    def feed(self, piece: Piece) -> list[tuple[Window, Audio]]:
        """Take the next piece; return the windows that are certain."""

    def close(self) -> list[tuple[Window, Audio]]:
        """Return the rest."""


class Extent:
    """How long a file is and how much of it is heard, by its pieces."""

    def __init__(self, clips: Sequence[Clip], stated: Callable[[], int]) -> None:
        self._clips, self._last, self._stated = clips, stretches(clips)[-1], stated
        self._stop = self._heard = 0

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        self._stop = piece.stop
        self._heard += len(piece.samples)

    def end(self, warnings: tuple[str, ...] = ()) -> HeardEnd:
        """Return the end: of what was decoded, or, where the clips end before the file may, the one that it states."""
        decoded_all = self._last.start < self._stop < self._last.stop
        samples = self._stop if decoded_all else max(self._stop, self._stated())
        return HeardEnd(samples, warnings, self._heard if self._clips else None)


class Listener:
    """Decodes and finds speech, for one request at a time; blocking, to be run in a thread.

    Memory: what `pieces`, the speech stream and the block cutter hold, some 25 MB for a file however long.
    """

    def __init__(
        self,
        pieces: Callable[[Upload, RequestOptions], Iterator[Piece]],
        speech: Callable[[RequestOptions], SpeechStream],
        stated_length: Callable[[Upload], int],
    ) -> None:
        self._pieces = pieces
        self._speech = speech
        self._stated_length = stated_length

    def listen(self, upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        """Yield windows and, if speakers are told apart, blocks, each as soon as it is certain; the end comes last."""
        speech = self._speech(options)
        cutter = BlockCutter() if options.diarize else None
        extent = Extent(options.clips, lambda: self._stated_length(upload))
        for piece in timed(self._pieces(upload, options), clock):
            extent.add(piece)
            yield from _blocks(cutter.feed(piece) if cutter else ())
            with clock.adding("vad"):
                found = speech.feed(piece)
            yield from _windows(found)
        with clock.adding("vad"):
            found = speech.close()
        yield from _windows(found)
        yield from _blocks(cutter.close() if cutter else ())
        with clock.adding("decode"):
            end = extent.end()
        yield end


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
