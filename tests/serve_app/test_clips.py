"""Clips: only those stretches are decoded, and they lie where they lie in the whole file, in every container."""

from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import joined, piped, tone, with_a_gap

from serve_app.channels import ChannelListener, Listeners
from serve_app.errors import AudioTooLong, BadRequest
from serve_app.flow import Clock
from serve_app.listening import Extent, HeardEnd, Listener
from serve_app.models.audio import channel_pieces, decode, pieces, stated_length
from serve_app.options import Channels, RequestOptions
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE, Clip, Window

CODECS = [  # container, codec, rate
    ("wav", "pcm_s16le", 16_000),
    ("flac", "flac", 44_100),
    ("mp3", "libmp3lame", 44_100),
    ("ogg", "libopus", 48_000),
    ("ogg", "flac", 44_100),
    ("ipod", "aac", 44_100),
    ("webm", "libopus", 48_000),
    ("adts", "aac", 16_000),
    ("mpegts", "aac", 48_000),
]


@cache
def encoded(path: Path, container: str, codec: str, rate: int) -> bytes:
    """A file in another container and codec."""
    file = BytesIO()
    with av.open(path) as source, av.open(file, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate)
        frames = [out for frame in source.decode(audio=0) for out in resampler.resample(frame)]
        for frame in [*frames, *resampler.resample(None)]:
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return file.getvalue()


def lag_and_likeness(part: Audio, whole: Audio) -> tuple[int, float]:
    """By how many samples (of at most 80) the part would have to move, and how alike they are then."""
    length = min(len(part), 4 * SAMPLE_RATE)
    spectra = [np.fft.rfft(audio[:length], 2 * length) for audio in (whole, part)]
    products = np.fft.irfft(spectra[0] * spectra[1].conj())
    lag = int(np.argmax(np.roll(products, 80)[:161])) - 80
    middle = slice(80, length - 80)
    return lag, np.corrcoef(part[middle], np.roll(whole[:length], -lag)[middle])[0, 1]


@pytest.mark.parametrize(("container", "codec", "rate"), CODECS)
@pytest.mark.parametrize("clip", [(0.0, 4.0), (1.5, 4.0), (21.234, 24.0), (30.0, None)])
def test_a_clip_lies_where_it_lies_in_the_whole_file(
    data: Path, container: str, codec: str, rate: int, clip: tuple[float, float | None]
) -> None:
    content = encoded(data / "three_speakers.flac", container, codec, rate)
    whole, heard = decode(content), list(pieces(content, clips=[clip]))
    first, last = round(clip[0] * SAMPLE_RATE), len(whole) if clip[1] is None else round(clip[1] * SAMPLE_RATE)
    assert heard[0].start == first
    assert heard[-1].stop == pytest.approx(last, abs=32)
    lag, alike = lag_and_likeness(joined(heard), whole[first:])
    assert abs(lag) <= 0.003 * SAMPLE_RATE
    assert alike > 0.95


@pytest.mark.parametrize(("container", "codec", "rate"), CODECS)
def test_a_clip_behind_the_end_yields_nothing(data: Path, container: str, codec: str, rate: int) -> None:
    content = encoded(data / "three_speakers.flac", container, codec, rate)
    end = len(decode(content)) / SAMPLE_RATE
    assert list(pieces(content, clips=[(end + 0.1, None)])) == []
    assert list(pieces(content, clips=[(end + 300, end + 400)])) == []
    last = list(pieces(content, clips=[(end - 1, end + 50), (end + 60, None)]))
    assert last[-1].stop == pytest.approx(end * SAMPLE_RATE, abs=32)


def test_clips_come_in_the_order_of_time_and_nothing_between_them(data: Path) -> None:
    path = data / "two_minutes.flac"
    whole = decode(path.read_bytes())
    heard = list(pieces(path, clips=[(60.0, 61.5), (5.0, 6.0), (6.0, 7.0)]))
    assert [(each.start, each.stop) for each in heard] == [(80_000, 112_000), (960_000, 984_000)]
    for each in heard:
        np.testing.assert_allclose(each.samples, whole[each.start : each.stop], atol=1e-4)


def test_only_what_is_heard_counts_towards_the_duration(data: Path) -> None:
    path = data / "two_minutes.flac"
    assert list(pieces(path, 10, [(0, 5), (60, 65)]))
    with pytest.raises(AudioTooLong):
        list(pieces(path, 9.9, [(0, 5), (60, 65)]))


def test_what_a_file_leaves_out_inside_a_clip_is_silence() -> None:
    heard = list(pieces(with_a_gap(4.0), clips=[(0.5, 2), (3, 5.5)]))
    assert [(each.start, each.stop) for each in heard] == [(8_000, 32_000), (48_000, 88_000)]
    assert np.abs(heard[0].samples[9_600:]).max() == 0
    assert np.abs(heard[1].samples[-4_000:]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_clips_of_a_truncated_file_are_heard_as_far_as_it_goes(data: Path, keep: float) -> None:
    content = encoded(data / "three_speakers.flac", "ogg", "libopus", 48_000)
    cut = content[: int(len(content) * keep)]
    end = len(decode(cut)) / SAMPLE_RATE
    heard = list(pieces(cut, clips=[(2.0, 3.0), (end - 5, None)]))
    assert heard[-1].stop == pytest.approx(end * SAMPLE_RATE, abs=0.03 * SAMPLE_RATE)


def test_clips_that_cannot_be_are_refused(data: Path) -> None:
    with pytest.raises(BadRequest, match="before it begins") as caught:
        next(pieces(data / "one_sentence.ogg", clips=[(3, 2)]))
    assert caught.value.param == "clip_timestamps"


class NoSpeech:
    """A stream in which nobody talks."""

    horizon = 0

    def feed(self, piece: Piece) -> list[tuple[Window, Audio]]:
        return []

    def close(self) -> list[tuple[Window, Audio]]:
        return []


def end_of(content: bytes, *clips: Clip, channels: Channels = "mix") -> HeardEnd:
    """What is told at the end of a file of which clips are heard."""
    listeners = Listeners(
        Listener(lambda upload, options: pieces(upload, 60, options.clips), lambda _: NoSpeech(), stated_length),
        ChannelListener(
            lambda upload, options: channel_pieces(upload, 60, options.clips), lambda _: NoSpeech(), stated_length
        ),
    )
    *_, end = listeners.listen(content, RequestOptions(clips=clips, channels=channels), Clock())
    assert isinstance(end, HeardEnd)
    return end


@pytest.mark.parametrize("channels", ["mix", "separate"])
@pytest.mark.parametrize(
    ("clips", "heard_s"),
    [
        ([(2.0, 5.0)], 3),
        ([(5.0, 200.0)], 5),
        ([(5.0, None)], 5),
        ([(100.0, 200.0)], 0),
        ([(1.0, 2.0), (4.0, 6.5), (100.0, None)], 3.5),
    ],
)
def test_a_file_is_as_long_as_it_is_whatever_is_heard_of_it(
    data: Path, clips: list[Clip], heard_s: float, channels: Channels
) -> None:
    end = end_of((data / "ten_seconds.flac").read_bytes(), *clips, channels=channels)
    assert (end.samples, end.clipped) == (10 * SAMPLE_RATE, heard_s * SAMPLE_RATE)


@pytest.mark.parametrize("channels", ["mix", "separate"])
def test_without_clips_a_file_is_as_long_as_what_was_decoded(data: Path, channels: Channels) -> None:
    content = (data / "ten_seconds.flac").read_bytes()
    cut = content[: len(content) // 2]
    end = end_of(cut, channels=channels)
    assert (end.samples, end.clipped) == (len(decode(cut)), None)
    assert end.samples < stated_length(cut) == 10 * SAMPLE_RATE


@pytest.mark.parametrize(
    ("clip", "decoded_s", "heard_s"), [((2.0, 5.0), 5, 3), ((5.0, 200.0), 10, 5), ((100.0, 200.0), 0, 0)]
)
def test_a_file_that_does_not_say_its_length_ends_where_decoding_did(clip: Clip, decoded_s: int, heard_s: int) -> None:
    content = piped(tone(10))
    assert stated_length(content) == 0
    end = end_of(content, clip)
    assert (end.samples, end.clipped) == (decoded_s * SAMPLE_RATE, heard_s * SAMPLE_RATE)


def test_a_file_is_no_shorter_than_what_was_heard_of_it() -> None:
    extent = Extent([(0.0, 5.0)], lambda: 3 * SAMPLE_RATE)
    extent.add(Piece(0, np.zeros(5 * SAMPLE_RATE, np.float32)))
    assert extent.end().samples == 5 * SAMPLE_RATE


@pytest.mark.parametrize(("container", "codec", "rate"), [each for each in CODECS if each[0] != "adts"])
def test_files_say_how_long_they_are(data: Path, container: str, codec: str, rate: int) -> None:
    content = encoded(data / "three_speakers.flac", container, codec, rate)
    assert stated_length(content) == pytest.approx(len(decode(content)), abs=0.04 * SAMPLE_RATE)


def test_of_a_video_the_sound_counts(data: Path) -> None:
    content = (data / "video.mp4").read_bytes()
    assert end_of(content, (1, 2)).samples == pytest.approx(len(decode(content)), abs=0.04 * SAMPLE_RATE)


def late_sound() -> bytes:
    """A video of six seconds with sound from its third to its fifth."""
    file = BytesIO()
    with av.open(file, "w", format="mov") as container:
        picture = container.add_stream("mpeg4", rate=1, width=16, height=16, pix_fmt="yuv420p")
        sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        for second in range(6):
            image = av.VideoFrame(16, 16, "yuv420p")
            image.pts, image.time_base = second, Fraction(1)
            container.mux(picture.encode(image))
        frame = av.AudioFrame.from_ndarray((tone(3) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 2 * SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
        for packets in (sound.encode(frame), picture.encode(None), sound.encode(None)):
            container.mux(packets)
    return file.getvalue()


def test_sound_that_begins_late_ends_as_late() -> None:
    assert stated_length(late_sound()) == len(decode(late_sound())) == 5 * SAMPLE_RATE
