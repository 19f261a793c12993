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
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    for frame in _frames(container):
        frame.pts = None
        yield from (block.to_ndarray()[0] for block in resampler.resample(frame))
    yield from (block.to_ndarray()[0] for block in resampler.resample(None))


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
