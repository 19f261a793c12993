"""Decoding: any container and codec that FFmpeg reads, to mono float32 at 16 kHz."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import av
import numpy as np

from serve_app.errors import AudioTooLong, EmptyAudio, NoAudioStream, NotAudio
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE


def decode(data: bytes, max_duration_s: float = float("inf")) -> Audio:
    """Decode the first audio stream of a file held in memory; raises a `BadAudio` that says what is wrong.

    Returns samples of shape (n,), mixed down to one channel, read-only.
    """
    if not data:
        raise EmptyAudio("the uploaded file is empty (0 bytes)", "file")
    try:
        with av.open(BytesIO(data), metadata_errors="ignore") as container:
            blocks = list(_limited(_blocks(container), max_duration_s))
    except av.error.FFmpegError as error:
        raise NotAudio(
            f"the uploaded file is no audio or video that FFmpeg can read ({error.strerror}); "
            "send wav, mp3, m4a, flac, ogg, webm, mp4 or the like",
            "file",
        ) from error
    if not blocks:
        raise EmptyAudio("the uploaded file's audio stream holds no samples", "file")
    audio = np.concatenate(blocks)
    audio.flags.writeable = False
    return audio


def _blocks(container: Any) -> Iterator[Audio]:
    if not container.streams.audio:
        raise NoAudioStream("the uploaded file has no audio stream", "file")
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    for frame in _frames(container):
        frame.pts = None
        yield from (block.to_ndarray()[0] for block in resampler.resample(frame))
    yield from (block.to_ndarray()[0] for block in resampler.resample(None))


def _frames(container: Any) -> Iterator[Any]:
    """Yield decodable frames; a damaged one in the middle of a file is left out, as players do."""
    frames = container.decode(audio=0)
    decoded = False
    while True:
        try:
            yield next(frames)
            decoded = True
        except StopIteration:
            return
        except av.error.EOFError:
            return
        except av.error.InvalidDataError:
            if not decoded:
                raise


def _limited(blocks: Iterator[Audio], max_duration_s: float) -> Iterator[Audio]:
    seconds = 0.0
    for block in blocks:
        seconds += len(block) / SAMPLE_RATE
        if seconds > max_duration_s:
            raise AudioTooLong(
                f"the audio runs longer than the {max_duration_s:g} s that this preset accepts; "
                "cut it, or raise limits.max_duration_s",
                "file",
            )
        yield block
