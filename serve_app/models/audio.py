"""Decoding: any container and codec that FFmpeg reads, to pieces of float32 at 16 kHz, mixed down or by channels.

Memory: a piece, one packet's samples, and the container's own index (ten hours of m4a: 45 MB; others less).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import AudioTooLong, BadRequest, EmptyAudio, NoAudioStream, NotAudio
from serve_app.models.packets import packets
from serve_app.options import MOST_CHANNELS
from serve_app.stages import Audio
from serve_app.tape import Piece as Piece
from serve_app.windows import SAMPLE_RATE, Clip, Window, stretches

ONLY_THIS_FILE = {"protocol_whitelist": "none"}
"""An upload may name other files or addresses (ffconcat, sdp, playlists): FFmpeg opens none of them."""
SHORTEST_GAP_S = 0.1
"""Time stamps that disagree by less are imprecise, not gaps."""
FULL_SCALE = np.float32(1 / 32768)
"""Mixed down as 16-bit samples, as whisper does: FFmpeg's float mixer lets stereo pass -1…1."""
PIECE = 5 * SAMPLE_RATE
"""Samples that make a piece; the last of a stretch is shorter, and a piece with a codec's long frame longer."""

Placed = tuple[int, NDArray[np.int16]]
"""The sample of the file at which they begin, and decoded samples of shape (channels, samples)."""


def pieces(
    source: bytes | BinaryIO | Path, max_duration_s: float = float("inf"), clips: Sequence[Clip] = ()
) -> Iterator[Piece]:
    """Decode the first audio stream of a file, in the order of time, as far as the pieces are asked for.

    An open file must be able to seek; it is read from its start and left open. Of clips (start and end in seconds, see
    `stretches`) only those are decoded, and only those count towards `max_duration_s`; one that begins after the end of
    the file yields nothing. Raises a `BadAudio` that says what is wrong, or `BadRequest` for clips that cannot be.
    """
    for start, channels in _heard(source, max_duration_s, clips, mixed=True):
        yield Piece(start, channels[0])


def channel_pieces(
    source: bytes | BinaryIO | Path, max_duration_s: float = float("inf"), clips: Sequence[Clip] = ()
) -> Iterator[tuple[Piece, ...]]:
    """Decode as `pieces` does, but a piece for each channel at a time, in the order in which the file has them.

    All begin at the same sample and are equally long. Raises also `BadRequest` for more than `MOST_CHANNELS`.
    """
    for start, channels in _heard(source, max_duration_s, clips, mixed=False):
        yield tuple(Piece(start, samples) for samples in channels)


def stated_length(source: bytes | BinaryIO | Path) -> int:
    """Return how many samples a file says its first audio stream has, by its header or its last packet; 0: it does not.

    Of raw streams (aac in adts) it is FFmpeg's guess from the bit rate; a stream that says nothing is as long as its
    container (matroska), which pictures may make longer. The file must be one that `pieces` could open.
    """
    with _opened(source) as file, _container(file) as container:
        stream, origin = container.streams.audio[0], (container.start_time or 0) / av.time_base
        if stream.duration is None:
            seconds: float = (container.duration or 0) / av.time_base
        else:
            begin = max(0.0, float((stream.start_time or 0) * stream.time_base) - origin)
            seconds = begin + float(stream.duration * stream.time_base)
    return round(seconds * SAMPLE_RATE)


def decode(data: bytes, max_duration_s: float = float("inf")) -> Audio:
    """Return all `pieces` of a file held in memory as one array of shape (samples,), read-only."""
    audio: Audio = np.concatenate([piece.samples for piece in pieces(data, max_duration_s)])
    audio.flags.writeable = False
    return audio


def _heard(
    source: bytes | BinaryIO | Path, max_duration_s: float, clips: Sequence[Clip], *, mixed: bool
) -> Iterator[tuple[int, Audio]]:
    wanted, nothing = stretches(clips), True
    for heard in _decoded(source, max_duration_s, wanted, _Resampler(mixed)):
        nothing = False
        yield heard
    if nothing and not clips:
        raise EmptyAudio("the uploaded file's audio stream holds no samples", "file")


def _decoded(
    source: bytes | BinaryIO | Path, max_duration_s: float, wanted: Sequence[Window], resampler: "_Resampler"
) -> Iterator[tuple[int, Audio]]:
    try:
        with (
            _opened(source) as file,
            _container(file) as container,
        ):
            yield from _joined(_limited(_within(_blocks(container, wanted, resampler), wanted), max_duration_s))
    except av.error.FFmpegError as error:
        raise NotAudio(
            f"the uploaded file is no audio or video that FFmpeg can read ({error.strerror}); "
            "send wav, mp3, m4a, flac, ogg, webm, mp4 or the like",
            "file",
        ) from error


def _container(file: BinaryIO) -> Any:
    return av.open(file, metadata_errors="ignore", options=ONLY_THIS_FILE)


@contextmanager
def _opened(source: bytes | BinaryIO | Path) -> Iterator[BinaryIO]:
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield _not_empty(file)
    else:
        yield _not_empty(BytesIO(source) if isinstance(source, bytes) else source)


def _not_empty(file: BinaryIO) -> BinaryIO:
    if not file.seek(0, SEEK_END):
        raise EmptyAudio("the uploaded file is empty (0 bytes)", "file")
    file.seek(0)
    return file


def _blocks(container: Any, wanted: Sequence[Window], resampler: "_Resampler") -> Iterator[Placed]:
    if not container.streams.audio:
        raise NoAudioStream("the uploaded file has no audio stream", "file")
    timeline, at = _Timeline(container), 0
    for frame in _frames(container, wanted):
        if (begin := timeline.moved_to(frame)) is not None:
            yield from _placed(at, resampler.flush())
            at = begin
        if frame is not None:
            for begin, block in _placed(at, resampler.feed(frame)):
                yield begin, block
                at = begin + block.shape[1]
    yield from _placed(at, resampler.flush())


class _Resampler:
    """Frames at 16 kHz, mixed down to one channel, or with the channels of the first frame, whatever follows."""

    def __init__(self, mixed: bool) -> None:
        self._layout: Any = "mono" if mixed else None
        self._now: Any = None
        self._kind: Any = None

    def feed(self, frame: Any) -> list[Any]:
        """Take the next frame; one of another kind than the last (rate, channels, sample format) begins anew."""
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        before = self.flush() if kind != self._kind else []
        self._now = self._now or self._begun(frame)
        self._kind = kind
        frame.pts = None
        return [*before, *self._now.resample(frame)]

    def flush(self) -> list[Any]:
        """Return what was held back."""
        held: list[Any] = self._now.resample(None) if self._now else []
        self._now = None
        return held

    def _begun(self, frame: Any) -> Any:
        self._layout = self._layout or _countable(frame.layout)
        return av.AudioResampler(format="s16", layout=self._layout, rate=SAMPLE_RATE)


def _countable(layout: Any) -> Any:
    if layout.nb_channels > MOST_CHANNELS:
        raise BadRequest(
            f"the file has {layout.nb_channels} channels; channels=separate takes at most {MOST_CHANNELS}: send fewer",
            "channels",
        )
    return layout


def _placed(at: int, frames: Sequence[Any]) -> Iterator[Placed]:
    for frame in frames:
        # interleaved: PyAV reads beyond the planes of 8 channels, and dies
        block = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
        yield at, block
        at += block.shape[1]


class _Timeline:
    """Where frames lie in the file by their time stamps: lost or never sent audio leaves a gap, to be kept as silence.

    Without it every word after damaged packets, or after a microphone that pauses (webm, mp4), would come early.
    """

    def __init__(self, container: Any) -> None:
        self._origin = (container.start_time or 0) / av.time_base
        self._length = container.duration / av.time_base if container.duration else float("inf")
        self._heard = 0.0
        self._jumped = False

    def moved_to(self, frame: Any) -> int | None:
        """Return the sample at which this frame begins, if it does not follow the one before; None is a jump."""
        self._jumped = self._jumped or frame is None
        if frame is None:
            return None
        at = self._heard if frame.time is None else frame.time - self._origin
        gap = at - self._heard > SHORTEST_GAP_S and at <= self._length
        moved = gap or self._jumped
        self._heard = (at if moved else self._heard) + frame.samples / frame.sample_rate
        self._jumped = False
        return round(at * SAMPLE_RATE) if moved else None


def _frames(container: Any, wanted: Sequence[Window]) -> Iterator[Any]:
    """Yield decodable frames, and None for a jump; a damaged one in the middle of a file is left out, as players do."""
    damage: Exception | None = None
    decoded = False
    for packet in packets(container, wanted):
        if packet is None:
            container.streams.audio[0].codec_context.flush_buffers()
            yield None
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            damage = error
            continue
        decoded = decoded or bool(frames)
        yield from frames
    if damage and not decoded:
        raise damage


def _within(blocks: Iterator[Placed], wanted: Sequence[Window]) -> Iterator[Placed]:
    """Yield the wanted samples alone; what the file leaves out among them is silence."""
    left = deque(wanted)
    for at, block in blocks:
        channels, length = block.shape
        stop = at + length
        while left and left[0].start < stop:
            clip = left.popleft()
            yield from _silence(clip.start, min(at, clip.stop), channels)
            first, last = max(at, clip.start), min(stop, clip.stop)
            if first < last:
                yield first, block[:, first - at : last - at]
            if clip.stop > stop:
                left.appendleft(Window(stop, clip.stop))
        if not left:
            return


def _silence(start: int, stop: int, channels: int) -> Iterator[Placed]:
    """Yield silence piece by piece, so that a time stamp that lies hits the duration limit, not the memory."""
    for at in range(start, stop, PIECE):
        yield at, np.zeros((channels, min(PIECE, stop - at)), np.int16)


def _limited(blocks: Iterator[Placed], max_duration_s: float) -> Iterator[Placed]:
    samples = 0
    for at, block in blocks:
        samples += block.shape[1]
        if samples > max_duration_s * SAMPLE_RATE:
            raise AudioTooLong(
                f"the audio runs longer than the {max_duration_s:g} s that this preset accepts; "
                "cut it, or raise limits.max_duration_s",
                "file",
            )
        yield at, block


def _joined(blocks: Iterator[Placed]) -> Iterator[tuple[int, Audio]]:
    """Yield a few seconds at a time, less where the next block does not follow."""
    start = stop = 0
    held: list[NDArray[np.int16]] = []
    for at, block in blocks:
        if held and (at != stop or stop - start >= PIECE):
            yield start, _samples(held)
            held = []
        start = start if held else at
        held.append(block)
        stop = at + block.shape[1]
    if held:
        yield start, _samples(held)


def _samples(blocks: Sequence[NDArray[np.int16]]) -> Audio:
    samples: Audio = np.ascontiguousarray(np.concatenate(blocks, axis=1)) * FULL_SCALE
    samples.flags.writeable = False
    return samples
