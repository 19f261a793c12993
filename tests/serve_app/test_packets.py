"""Packets: what is left out is before or after what is wanted, also where a container seeks badly or not at all."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import pytest
from av.stream import Discard
from fakes import window

from serve_app.models.packets import packets


@dataclass
class Packet:
    """Half a second, from `pts` milliseconds on; None: it does not say."""

    pts: int | None
    size: int = 100
    dts: int | None = None
    time_base: Fraction = Fraction(1, 1000)


@dataclass
class Container:
    """Two minutes in packets; a seek lands `late_s` seconds after what was asked for, or fails."""

    name: str = "wav"
    late_s: float = 0.0
    fails: bool = False
    stamped: bool = True
    start_time: int = 0
    seeks: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        codec = SimpleNamespace(name="pcm_s16le")
        stream = SimpleNamespace(codec_context=codec, time_base=Fraction(1, 1000), discard=Discard.default)
        picture = SimpleNamespace(discard=Discard.default)
        self.streams = type("Streams", (list,), {"audio": [stream]})([stream, picture])
        self.format = SimpleNamespace(name=self.name)
        self._next = 0

    def demux(self, stream: Any) -> Iterator[Packet]:
        while self._next < 120_000:
            self._next += 500
            yield Packet(self._next - 500 if self.stamped else None)
        yield Packet(None, size=0)

    def seek(self, offset: int, *, stream: Any) -> None:
        self.seeks.append(offset / 1000)
        if self.fails and offset:
            raise av.error.PermissionError(1, "cannot seek")
        self._next = 500 * int(offset / 500 + (2 * self.late_s if offset else 0))


def times(container: Container, *wanted: tuple[float, float]) -> list[float | None]:
    """Seconds of the packets that are decoded; None where some were left out."""
    found = packets(container, [window(*each) for each in wanted])
    return [None if packet is None else packet.pts and packet.pts / 1000 for packet in found]


def every_half(first: int, last: int) -> list[float | None]:
    return [first + half / 2 for half in range(2 * (last - first) + 1)]


def test_a_far_stretch_is_sought_and_a_near_one_skipped_to() -> None:
    container = Container()
    assert times(container, (5, 6), (100, 101)) == [None, *every_half(4, 7), None, *every_half(99, 102)]
    assert container.seeks == [99]


def test_containers_that_guess_are_never_sought_in() -> None:
    container = Container("mp3")
    assert times(container, (100, 101)) == [None, *every_half(99, 102)]
    assert container.seeks == []


@pytest.mark.parametrize("container", [Container(late_s=3), Container(late_s=300), Container(fails=True)])
def test_a_bad_seek_is_undone(container: Container) -> None:
    assert times(container, (50, 51), (100, 101)) == [None, *every_half(49, 52), None, *every_half(99, 102)]
    assert container.seeks == [49, 0]


def test_packets_that_do_not_say_their_time_are_all_decoded() -> None:
    assert len(times(Container("mp3", stamped=False), (50, 51))) == 241
    assert len(times(Container("wav", stamped=False), (50, 51))) == 1 + 241


def test_other_streams_are_not_read() -> None:
    container = Container()
    times(container, (0, 1))
    assert [stream.discard for stream in container.streams] == [Discard.default, Discard.all]
