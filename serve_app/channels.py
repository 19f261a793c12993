"""A file's channels heard apart, each of them one speaker: decoded in one pass, brought into one order of time."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count, islice
from typing import Protocol

import numpy as np

from serve_app.errors import BadRequest
from serve_app.flow import Clock
from serve_app.listening import Extent, Heard, HeardWindow, Listener, SpeechStream, Upload, timed
from serve_app.options import RequestOptions
from serve_app.speakers import alphabet
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.transcript import Segment, SpeakerTurn
from serve_app.windows import Window

ONE_CHANNEL = "the file has one channel, so that channels=separate heard one speaker; ask for diarize instead"
ALL_ALIKE = "all channels of the file are the same, so that everything was heard once for each; ask for channels=mix"


class ChannelStream(SpeechStream, Protocol):
    """One channel's windows, as its pieces come."""

    @property
    def horizon(self) -> int:
        """The sample before which no window will begin that is not certain yet."""


class ChannelListener:
    """Decodes and finds speech in every channel, as `Listener` does in their mix; blocking, to be run in a thread.

    Windows come in the order of time. Memory for each channel: what its speech stream holds, and windows that wait
    until the other channels have come as far, some 15 and at most 10 MB.
    """

    def __init__(
        self,
        pieces: Callable[[Upload, RequestOptions], Iterator[Sequence[Piece]]],
        speech: Callable[[RequestOptions], ChannelStream],
        stated_length: Callable[[Upload], int],
    ) -> None:
        self._pieces = pieces
        self._speech = speech
        self._stated_length = stated_length

    def listen(self, upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        """Yield windows, each as soon as no earlier one can come; the end comes last."""
        order = _InTime()
        streams: list[ChannelStream] = []
        extent, alike = Extent(options.clips, lambda: self._stated_length(upload)), True
        for pieces in timed(self._pieces(upload, options), clock):
            streams = streams or [self._speech(options) for _ in _counted(pieces, options)]
            extent.add(pieces[0])
            alike = alike and all(np.array_equal(pieces[0].samples, piece.samples) for piece in pieces)
            with clock.adding("vad"):
                for channel, (stream, piece) in enumerate(zip(streams, pieces, strict=True)):
                    order.add(channel, stream.feed(piece))
            yield from order.before(min(stream.horizon for stream in streams))
        with clock.adding("vad"):
            for channel, stream in enumerate(streams):
                order.add(channel, stream.close())
        with clock.adding("decode"):
            end = extent.end(_doubts(len(streams), alike))
        yield from order.before(end.samples)
        yield end


def _counted(pieces: Sequence[Piece], options: RequestOptions) -> Sequence[Piece]:
    if len(options.channel_names) > len(pieces):
        raise BadRequest(
            f"{len(options.channel_names)} known_speaker_names for a file of {len(pieces)} channels; "
            "give at most one for each",
            "known_speaker_names",
        )
    return pieces


def _doubts(channels: int, alike: bool) -> tuple[str, ...]:
    if channels == 1:
        return (ONE_CHANNEL,)
    return (ALL_ALIKE,) if alike and channels else ()


class _InTime:
    """Windows of all channels, held until none can come that begins before them."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int, int, HeardWindow]] = []
        self._numbers = count()

    def add(self, channel: int, found: Sequence[tuple[Window, Audio]]) -> None:
        """Take a channel's next windows."""
        for window, samples in found:
            key = (window.start, channel, next(self._numbers))
            heappush(self._held, (*key, HeardWindow(window, samples, channel)))

    def before(self, horizon: int) -> Iterator[HeardWindow]:
        """Let go of those that begin no later than a sample."""
        while self._held and self._held[0][0] <= horizon:
            yield heappop(self._held)[-1]


class Listeners:
    """How a file is heard: as its channels are wanted."""

    def __init__(self, mixed: Listener, separate: ChannelListener) -> None:
        self._mixed, self._separate = mixed, separate

    def listen(self, upload: Upload, options: RequestOptions, clock: Clock) -> Generator[Heard]:
        """Yield what is heard, with the channels mixed or separate."""
        ears = self._separate if options.channels == "separate" else self._mixed
        return ears.listen(upload, options, clock)


class Interleaved:
    """Finished segments of several channels in the order of time; windows come in it, and their segments overlap."""

    def __init__(self) -> None:
        self._held: list[tuple[float, int, Segment]] = []
        self._numbers = count()

    def add(self, segments: Sequence[Segment]) -> None:
        """Take the segments of the next window."""
        for segment in segments:
            heappush(self._held, (segment.start, next(self._numbers), segment))

    def before(self, start_s: float) -> list[Segment]:
        """Let go of those that begin no later than the next window does."""
        found = []
        while self._held and self._held[0][0] <= start_s:
            found.append(heappop(self._held)[-1])
        return found


def speaker_of(channel: int, options: RequestOptions) -> str:
    """Return the name of a channel's speaker: the one given, else A for the first channel, B for the second, …"""
    names = options.channel_names
    return names[channel] if channel < len(names) else next(islice(alphabet(), channel, None))


def spoken_by(speaker: str, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return segments and words with their speaker."""
    return tuple(
        replace(segment, speaker=speaker, words=tuple(replace(word, speaker=speaker) for word in segment.words))
        for segment in segments
    )


def turns_of(segments: Sequence[Segment]) -> tuple[SpeakerTurn, ...]:
    """Return who speaks when by the segments; nobody where they bear no speaker."""
    return tuple(SpeakerTurn(each.start, each.end, each.speaker) for each in segments if each.speaker)
