"""Which packets of a file are decoded: those that hold what is to be heard, and a little before and after."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import av
from av.stream import Discard

from serve_app.windows import Window

PREROLL_S = 1.0
"""Decoded before a clip and dropped: decoders (mp3's bit reservoir, opus) and the resampler need it to settle."""
SLACK_S = 0.5
"""Decoded after a clip, since codecs and the resampler hold samples back."""
SEEK_WORTH_S = 10.0
"""A shorter stretch is skipped packet by packet."""
EXACT_SEEKING = frozenset(
    {"aiff", "caf", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "w64", "wav"},
)
"""FFmpeg's names of the containers whose time stamps after a seek are true; mp3's, say, are guessed from the bit rate.

In all others packets are skipped one by one, without decoding them: some 0.4 s for an hour of mp3.
"""


def packets(container: Any, wanted: Sequence[Window]) -> Iterator[Any]:
    """Yield the first audio stream's packets that hold the wanted stretches, and None wherever some were left out.

    Where no packet says its time, all are yielded. A seek that fails or lands too late is undone: packets are skipped.
    """
    return _Reader(container).through(wanted)


def _seeks_exactly(container: str, codec: str) -> bool:
    """FFmpeg misplaces flac in ogg by tenths of a second after a seek."""
    return container in EXACT_SEEKING and (container, codec) != ("ogg", "flac")


class _Reader:
    """Where in the file the demuxer is, in seconds from its start."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._stream = container.streams.audio[0]
        self._origin = (container.start_time or 0) / av.time_base
        self._can_seek = _seeks_exactly(container.format.name, self._stream.codec_context.name)
        self._here: float | None = None
        for stream in container.streams:
            stream.discard = Discard.default if stream is self._stream else Discard.all
        self._packets: Iterator[Any] = container.demux(self._stream)

    def through(self, wanted: Sequence[Window]) -> Iterator[Any]:
        for clip in wanted:
            begin = clip.start_s - PREROLL_S if clip.start_s > PREROLL_S else float("-inf")
            jumped = self._seek(begin)
            for packet in self._packets:
                self._here = here = self._time(packet, self._here)
                if here is not None and here < begin and packet.size:
                    jumped = True
                    continue
                if jumped:
                    yield None
                jumped = False
                yield packet
                if here is not None and here > clip.stop_s + SLACK_S:
                    break
            else:
                return

    def _time(self, packet: Any, unknown: float | None) -> float | None:
        stamp = packet.dts if packet.pts is None else packet.pts
        return unknown if stamp is None else float(stamp * packet.time_base) - self._origin

    def _seek(self, target: float) -> bool:
        """Go to the last packet before a time, if that is worth it; return whether packets were left out."""
        if not self._can_seek or target - (self._here or 0.0) < SEEK_WORTH_S:
            return False
        try:
            if self._lands_before(target):
                return True
        except av.error.FFmpegError:
            pass  # a file without an index, or cut short
        self._can_seek = False
        self._go_to(0.0)
        return True

    def _lands_before(self, target: float) -> bool:
        self._go_to(target)
        first = next(self._packets, None)
        landed = None if first is None else self._time(first, None)
        if landed is None or landed > target + PREROLL_S / 2:
            return False
        self._packets = chain([first], self._packets)
        return True

    def _go_to(self, seconds: float) -> None:
        self._container.seek(int((seconds + self._origin) / self._stream.time_base), stream=self._stream)
        self._packets = self._container.demux(self._stream)
        self._here = None
