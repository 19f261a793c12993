"""Decoding by channels: each as it is in the file, all at the same sample, whatever the container and the layout."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import joined, tone, wav, with_a_gap

from serve_app.errors import AudioTooLong, BadRequest, EmptyAudio
from serve_app.models.audio import channel_pieces, decode, pieces
from serve_app.options import MOST_CHANNELS
from serve_app.stages import Audio
from serve_app.tape import Piece
from serve_app.windows import SAMPLE_RATE


def channels(heard: list[tuple[Piece, ...]]) -> list[Audio]:
    """The samples of each channel; all pieces of one moment lie at the same place."""
    assert all(len({(piece.start, piece.stop) for piece in moment}) == 1 for moment in heard)
    return [joined([moment[channel] for moment in heard]) for channel in range(len(heard[0]))]


def side_by_side(*parts: Audio) -> Audio:
    """Channels of shape (samples, channels), the shorter ones followed by silence."""
    longest = max(len(part) for part in parts)
    return np.stack([np.pad(part, (0, longest - len(part))) for part in parts], axis=1)


def test_each_channel_is_what_it_is_in_the_file(data: Path) -> None:
    left, right = (decode((data / f"{name}.flac").read_bytes()) for name in ("ten_seconds", "one_sentence"))
    heard = channels(list(channel_pieces(wav(side_by_side(left, right)))))
    np.testing.assert_allclose(heard[0], left, atol=1e-4)
    np.testing.assert_allclose(heard[1][: len(right)], right, atol=1e-4)
    assert np.abs(heard[1][len(right) :]).max() == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5, MOST_CHANNELS])
def test_every_number_of_channels_keeps_its_order(count: int) -> None:
    parts = [(each + 1) / 10 * tone(1, 44_100) for each in range(count)]
    heard = channels(list(channel_pieces(wav(np.stack(parts, axis=1), 44_100))))
    loudness = [np.abs(each).max() for each in heard]
    np.testing.assert_allclose(loudness, [(each + 1) / 20 for each in range(count)], atol=1e-3)


def test_more_channels_than_can_be_heard_are_refused() -> None:
    many = wav(np.stack([tone(0.1)] * (MOST_CHANNELS + 1), axis=1))
    with pytest.raises(BadRequest, match="has 9 channels; channels=separate takes at most 8") as caught:
        list(channel_pieces(many))
    assert caught.value.param == "channels"


def test_a_gap_is_silence_and_clips_lie_where_they_lie() -> None:
    (heard,) = channels(list(channel_pieces(with_a_gap(2.0))))
    np.testing.assert_array_equal(heard, decode(with_a_gap(2.0)))
    stereo = wav(np.stack([tone(4), 0.5 * tone(4)], axis=1))
    cut = list(channel_pieces(stereo, clips=[(1.0, 2.0)]))
    assert (cut[0][0].start, cut[-1][1].stop) == (SAMPLE_RATE, 2 * SAMPLE_RATE)
    np.testing.assert_allclose(channels(cut)[0], tone(4)[SAMPLE_RATE : 2 * SAMPLE_RATE], atol=1e-3)


def test_the_limit_is_of_the_file_not_of_its_channels_together() -> None:
    stereo = wav(np.stack([tone(2)] * 2, axis=1))
    assert len(channels(list(channel_pieces(stereo, 2.0)))[0]) == 2 * SAMPLE_RATE
    with pytest.raises(AudioTooLong):
        list(channel_pieces(stereo, 1.9))


def test_no_samples_are_no_channels() -> None:
    with pytest.raises(EmptyAudio):
        list(channel_pieces(wav(np.zeros((0, 2)))))


def test_nothing_can_be_written_to_and_pieces_come_as_they_are_asked_for() -> None:
    heard = channel_pieces(wav(np.stack([tone(60)] * 2, axis=1)), max_duration_s=20)
    first = next(heard)
    assert {piece.stop < 6 * SAMPLE_RATE for piece in first} == {True}
    assert not any(piece.samples.flags.writeable for piece in first)
    with pytest.raises(AudioTooLong):
        list(heard)


def video(*streams: Audio) -> bytes:
    """A matroska file with a picture, and stereo or mono audio streams of shape (channels, samples)."""
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        picture = container.add_stream("mpeg4", rate=1, width=16, height=16, pix_fmt="yuv420p")
        layouts = ["mono" if len(each) == 1 else "stereo" for each in streams]
        sounds = [container.add_stream("flac", rate=SAMPLE_RATE, layout=layout) for layout in layouts]
        container.mux(picture.encode(av.VideoFrame(16, 16, "yuv420p")))
        for stream, layout, samples in zip(sounds, layouts, streams, strict=True):
            packed = np.round(samples.T * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
        for stream in (picture, *sounds):
            container.mux(stream.encode(None))
    return file.getvalue()


def test_a_videos_stereo_track_has_two_channels() -> None:
    heard = channels(list(channel_pieces(video(np.stack([tone(2), 0.1 * tone(2)])))))
    np.testing.assert_allclose([np.abs(each).max() for each in heard], [0.5, 0.05], atol=1e-3)


def test_of_several_audio_streams_the_first_is_heard() -> None:
    two = video(tone(2)[None], 0.1 * tone(1)[None])
    np.testing.assert_allclose(joined(list(pieces(two))), tone(2), atol=1e-4)
    assert len(next(channel_pieces(two))) == 1


def changing() -> bytes:
    """Half a second of mono and half a second of stereo at another rate, one after the other in one stream."""
    file = BytesIO()
    for rate, layout, count in ((16_000, "mono", 1), (32_000, "stereo", 2)):
        with av.open(part := BytesIO(), "w", format="adts") as container:
            stream = container.add_stream("aac", rate=rate, layout=layout)
            samples = np.stack([tone(0.5, rate)] * count).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        file.write(part.getvalue())
    return file.getvalue()


def test_a_stream_that_changes_its_rate_and_channels_is_heard_on() -> None:
    for heard in ([decode(changing())], channels(list(channel_pieces(changing())))):
        assert [len(each) / SAMPLE_RATE for each in heard] == pytest.approx([1.0], abs=0.25)
        assert np.abs(heard[0][-4000:]).max() > 0.3
