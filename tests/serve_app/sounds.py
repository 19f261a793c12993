"""Small files made on the spot, and what they hold."""

import wave
from fractions import Fraction
from io import BytesIO

import av
import numpy as np

from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE


def wav(samples: np.ndarray, rate: int = SAMPLE_RATE) -> bytes:
    """A 16-bit wav file; samples of shape (n,) or (n, channels) in -1…1."""
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def tone(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def with_a_gap(seconds: float, rate: int = SAMPLE_RATE) -> bytes:
    """A second of tone, nothing for `seconds`, and a second of tone, in a container that keeps time stamps."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start in (0.0, 1.0 + seconds):
            samples = (tone(1, rate) * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


class Pipe:
    """A sink that cannot seek, as ffmpeg's `-` is: what is written to it does not say how long it is."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)


def piped(samples: np.ndarray) -> bytes:
    """A flac file that was written to a pipe."""
    pipe = Pipe()
    with av.open(pipe, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        packed = np.round(samples * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return pipe.content


def joined(heard: list[Piece]) -> Audio:
    return np.concatenate([piece.samples for piece in heard])
