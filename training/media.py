"""Audio and video files, written through PyAV."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from training.speech import SAMPLE_RATE

REPEATABLE = {"fflags": "+bitexact"}
"""No random serial numbers, no dates, no versions: the same samples give the same file."""


def write_audio(
    path: Path, samples: NDArray[np.float32], codec: str, rate: int = SAMPLE_RATE, bit_rate: int = 0
) -> None:
    """Write 16 kHz samples, shape (samples,) or (channels, samples), at `rate`; the suffix names the container."""
    planar = np.atleast_2d(resample_poly(samples, rate, SAMPLE_RATE, axis=-1) if rate != SAMPLE_RATE else samples)
    layout = "mono" if len(planar) == 1 else "stereo"
    with av.open(str(path), "w", options=REPEATABLE) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        _encode(container, stream, planar, layout, rate)


def write_flac(path: Path, samples: NDArray[np.float32]) -> None:
    """Write 16-bit FLAC at 16 kHz, mono."""
    write_audio(path, samples, "flac")


def write_silent_video(path: Path, seconds: float = 1.0, size: int = 64) -> None:
    """Write an MP4 with moving pictures and no audio stream."""
    with av.open(str(path), "w", options=REPEATABLE) as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        _encode_pictures(container, stream, round(seconds * 10), size)


def write_video(path: Path, samples: NDArray[np.float32], size: int = 64) -> None:
    """Write an MP4 with a small picture and the samples as AAC."""
    with av.open(str(path), "w", options=REPEATABLE) as container:
        pictures = container.add_stream("mpeg4", rate=10)
        pictures.width = pictures.height = size
        pictures.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        sound.bit_rate = 32_000
        _encode_pictures(container, pictures, round(len(samples) / SAMPLE_RATE * 10), size)
        _encode(container, sound, np.atleast_2d(samples), "mono", SAMPLE_RATE)


def _encode(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    planar: NDArray[np.float32],
    layout: str,
    rate: int,
) -> None:
    """Encode samples of shape (channels, samples) as one frame; the codec cuts it as it needs."""
    interleaved = (np.clip(planar, -1, 32767 / 32768) * 32768).round().astype(np.int16).T.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="s16", layout=layout)
    frame.sample_rate = rate
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 4096)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def _encode_pictures(container: av.container.OutputContainer, stream: av.VideoStream, count: int, size: int) -> None:
    """Encode `count` grey pictures with a bar that wanders."""
    for i in range(count):
        picture = np.full((size, size, 3), 90, np.uint8)
        picture[:, i % size] = 220
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))
