"""Decoding: any container and codec that FFmpeg reads, to mono float32 at 16 kHz."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from serve_app.errors import AudioTooLong, EmptyAudio, NoAudioStream, NotAudio
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

ONLY_THIS_FILE = {"protocol_whitelist": "none"}
"""An upload may name other files or addresses (ffconcat, sdp, playlists): FFmpeg opens none of them."""
SHORTEST_GAP_S = 0.1
"""Time stamps that disagree by less are imprecise, not gaps."""
FULL_SCALE = np.float32(1 / 32768)
"""Mixed down as 16-bit samples, as whisper does: FFmpeg's float mixer lets stereo pass -1…1."""


def decode(data: bytes, max_duration_s: float = float("inf")) -> Audio:
    """Decode the first audio stream of a file held in memory; raises a `BadAudio` that says what is wrong.

    Returns samples of shape (n,), mixed down to one channel, read-only.
    """
    if not data:
        raise EmptyAudio("the uploaded file is empty (0 bytes)", "file")
    try:
        with av.open(BytesIO(data), metadata_errors="ignore", options=ONLY_THIS_FILE) as container:
            blocks = list(_limited(_blocks(container), max_duration_s))
    except av.error.FFmpegError as error:
        raise NotAudio(
            f"the uploaded file is no audio or video that FFmpeg can read ({error.strerror}); "
            "send wav, mp3, m4a, flac, ogg, webm, mp4 or the like",
            "file",
        ) from error
    if not blocks:
        raise EmptyAudio("the uploaded file's audio stream holds no samples", "file")
    audio: Audio = np.concatenate(blocks) * FULL_SCALE
    audio.flags.writeable = False
    return audio


def _blocks(container: Any) -> Iterator[NDArray[np.int16]]:
    if not container.streams.audio:
        raise NoAudioStream("the uploaded file has no audio stream", "file")
    resampler, timeline = _resampler(), _Timeline(container)
    for frame in _frames(container):
        if missing := timeline.missing_before(frame):
            yield from _resampled(resampler, None)
            yield from _silence(missing)
            resampler = _resampler()
        frame.pts = None
        yield from _resampled(resampler, frame)
    yield from _resampled(resampler, None)


def _silence(samples: int, piece: int = 60 * SAMPLE_RATE) -> Iterator[NDArray[np.int16]]:
    """Yield silence piece by piece, so that a time stamp that lies hits the duration limit, not the memory."""
    for start in range(0, samples, piece):
        yield np.zeros(min(piece, samples - start), np.int16)


def _resampler() -> Any:
    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _resampled(resampler: Any, frame: Any) -> Iterator[NDArray[np.int16]]:
    yield from (block.to_ndarray()[0] for block in resampler.resample(frame))


class _Timeline:
    """Where frames lie in the file by their time stamps: lost or never sent audio leaves a gap, to be kept as silence.

    Without it every word after damaged packets, or after a microphone that pauses (webm, mp4), would come early.
    """

    def __init__(self, container: Any) -> None:
        self._origin = (container.start_time or 0) / av.time_base
        self._length = container.duration / av.time_base if container.duration else float("inf")
        self._heard = 0.0

    def missing_before(self, frame: Any) -> int:
        """Return how many samples at 16 kHz are missing between the frames so far and this one."""
        at = self._heard if frame.time is None else frame.time - self._origin
        gap = at - self._heard
        believable = gap > SHORTEST_GAP_S and at <= self._length
        self._heard += (gap if believable else 0.0) + frame.samples / frame.sample_rate
        return int(gap * SAMPLE_RATE) if believable else 0


def _frames(container: Any) -> Iterator[Any]:
    """Yield decodable frames; a damaged one in the middle of a file is left out, as players do."""
    damage: Exception | None = None
    decoded = False
    for packet in container.demux(audio=0):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            damage = error
            continue
        decoded = decoded or bool(frames)
        yield from frames
    if damage and not decoded:
        raise damage


def _limited(blocks: Iterator[NDArray[np.int16]], max_duration_s: float) -> Iterator[NDArray[np.int16]]:
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > max_duration_s * SAMPLE_RATE:
            raise AudioTooLong(
                f"the audio runs longer than the {max_duration_s:g} s that this preset accepts; "
                "cut it, or raise limits.max_duration_s",
                "file",
            )
        yield block
