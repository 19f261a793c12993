"""Decoding: whatever FFmpeg reads becomes mono at 16 kHz, and what cannot be heard is refused by its reason."""

import json
import wave
from contextlib import suppress
from fractions import Fraction
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from serve_app.errors import AudioTooLong, BadAudio, BadRequest, EmptyAudio, NoAudioStream, NotAudio
from serve_app.models.audio import Piece, decode, pieces
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

SENTENCE = ["one_sentence.ogg", "one_sentence_8khz_stereo.mp3", "video.mp4"]


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


def likeness(audio: Audio, original: Audio) -> float:
    """The correlation at the best lag of up to 0.1 s: an AAC encoder starts with 64 ms of nothing."""
    length = min(len(audio), len(original)) - 1600
    return max(np.corrcoef(audio[lag : lag + length], original[:length])[0, 1] for lag in range(0, 1600, 16))


@pytest.mark.parametrize("name", ["one_sentence", "ten_seconds", "silence", "three_speakers"])
def test_a_flac_file_is_as_long_as_it_says(data: Path, name: str) -> None:
    audio = decode((data / f"{name}.flac").read_bytes())
    truth = json.loads((data / f"{name}.json").read_text())
    assert len(audio) / SAMPLE_RATE == pytest.approx(truth["duration"], abs=0.002)
    assert (audio.dtype, audio.ndim) == (np.float32, 1)
    assert np.abs(audio).max() <= 1.0


@pytest.mark.parametrize("name", SENTENCE)
def test_the_same_sentence_sounds_the_same_in_every_codec(data: Path, name: str) -> None:
    original = decode((data / "one_sentence.flac").read_bytes())
    audio = decode((data / name).read_bytes())
    assert len(audio) == pytest.approx(len(original), abs=0.1 * SAMPLE_RATE)
    assert likeness(audio, original) > 0.95


def test_samples_are_those_of_the_file() -> None:
    audio = decode(wav(tone(0.5)))
    np.testing.assert_allclose(audio, tone(0.5), atol=1e-4)


def test_channels_are_averaged() -> None:
    left, right = tone(0.5), np.full(8_000, 0.25)
    audio = decode(wav(np.stack([left, right], axis=1)))
    np.testing.assert_allclose(audio, (left + right) / 2, atol=1e-4)


def test_loud_stereo_stays_within_full_scale() -> None:
    audio = decode(wav(np.stack([2 * tone(0.5)] * 2, axis=1)))
    assert 0.99 < np.abs(audio).max() <= 1.0


def test_rates_are_converted() -> None:
    audio = decode(wav(tone(1, 44_100), 44_100))
    assert len(audio) == pytest.approx(SAMPLE_RATE, abs=32)
    np.testing.assert_allclose(audio[200:-200], tone(1)[200 : len(audio) - 200], atol=0.01)


def test_audio_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        decode(wav(tone(0.1)))[0] = 1.0


def test_an_empty_upload_is_named() -> None:
    with pytest.raises(EmptyAudio, match="empty") as caught:
        decode(b"")
    assert caught.value.param == "file"


def test_a_file_without_samples_is_named() -> None:
    with pytest.raises(EmptyAudio, match="holds no samples"):
        decode(wav(np.zeros(0)))


def test_a_silent_video_is_named(data: Path) -> None:
    with pytest.raises(NoAudioStream, match="no audio stream"):
        decode((data / "no_audio.mp4").read_bytes())


@pytest.mark.parametrize("content", [b"\x00", b"plain text, no audio\n" * 50, b'{"json": true}'])
def test_what_is_no_audio_is_refused_with_what_to_send(content: bytes) -> None:
    with pytest.raises(NotAudio, match="send wav, mp3"):
        decode(content)


def test_noise_bytes_are_no_audio(data: Path) -> None:
    with pytest.raises(NotAudio):
        decode((data / "not_audio.bin").read_bytes())


def test_a_truncated_file_is_heard_as_far_as_it_goes(data: Path) -> None:
    whole = (data / "ten_seconds.flac").read_bytes()
    audio, original = decode(whole[: len(whole) // 2]), decode(whole)
    assert 3 * SAMPLE_RATE < len(audio) < 6 * SAMPLE_RATE
    np.testing.assert_array_equal(audio[: 3 * SAMPLE_RATE], original[: 3 * SAMPLE_RATE])


def test_a_truncated_header_is_no_audio(data: Path) -> None:
    with pytest.raises(NotAudio):
        decode((data / "one_sentence.flac").read_bytes()[:100])


@pytest.mark.parametrize("name", ["one_sentence_8khz_stereo.mp3", "video.mp4"])
def test_damage_in_the_middle_costs_only_what_is_damaged(data: Path, name: str) -> None:
    content = bytearray((data / name).read_bytes())
    whole, middle = decode(bytes(content)), len(content) // 3
    content[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    assert len(decode(bytes(content))) > len(whole) - SAMPLE_RATE // 2


def test_any_damaged_file_is_heard_or_refused(data: Path) -> None:
    content = (data / "one_sentence.ogg").read_bytes()
    for seed in range(12):
        dice = np.random.default_rng(seed)
        damaged = bytearray(content[: dice.integers(1, len(content))])
        place = int(dice.integers(len(damaged)))
        damaged[place : place + 200] = dice.bytes(200)
        with suppress(BadAudio):
            assert np.isfinite(decode(bytes(damaged))).all()


def test_too_long_audio_is_refused_before_all_of_it_is_decoded() -> None:
    with pytest.raises(AudioTooLong, match=r"longer than the 1\.5 s that this preset accepts"):
        decode(wav(tone(2)), max_duration_s=1.5)
    assert len(decode(wav(tone(1.5)), max_duration_s=1.5)) == 1.5 * SAMPLE_RATE


def test_an_upload_opens_no_other_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    with pytest.raises(NotAudio):
        decode(b"ffconcat version 1.0\nfile one_sentence.flac\n")


def test_an_upload_opens_no_socket() -> None:
    session = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"
    with pytest.raises(NotAudio, match="Invalid data"):
        decode(session.encode())


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


def test_a_gap_in_the_time_stamps_is_silence() -> None:
    audio = decode(with_a_gap(2.0))
    assert len(audio) == pytest.approx(4 * SAMPLE_RATE, abs=160)
    assert np.abs(audio[int(1.05 * SAMPLE_RATE) : int(2.95 * SAMPLE_RATE)]).max() == 0
    assert np.abs(audio[int(3.05 * SAMPLE_RATE) :]).max() == pytest.approx(0.5, abs=0.01)


def test_a_gap_counts_towards_the_duration() -> None:
    with pytest.raises(AudioTooLong):
        decode(with_a_gap(20_000.0), max_duration_s=600)


def test_time_stamps_that_begin_late_do_not_delay_the_audio(data: Path) -> None:
    assert len(decode((data / "video.mp4").read_bytes())) == pytest.approx(5.55 * SAMPLE_RATE, abs=0.15 * SAMPLE_RATE)


def test_a_file_is_the_same_from_bytes_from_a_path_and_from_an_open_file(data: Path) -> None:
    path = data / "one_sentence.ogg"
    with path.open("rb") as file:
        file.seek(100)
        from_file = list(pieces(file))
        assert not file.closed
    for heard in (from_file, list(pieces(path)), list(pieces(path.read_bytes()))):
        np.testing.assert_array_equal(joined(heard), decode(path.read_bytes()))


def test_pieces_follow_each_other_and_are_a_few_seconds_long(data: Path) -> None:
    heard = list(pieces(data / "two_minutes.flac"))
    assert heard[0].start == 0
    assert all(before.stop == after.start for before, after in pairwise(heard))
    assert all(1 <= len(each.samples) / SAMPLE_RATE <= 10 for each in heard)
    assert {each.samples.dtype for each in heard} == {np.dtype(np.float32)}
    assert not any(each.samples.flags.writeable for each in heard)


def test_only_what_is_asked_for_is_decoded() -> None:
    whole = wav(tone(60))
    heard = pieces(whole, max_duration_s=20)
    assert next(heard).stop == next(heard).start < 6 * SAMPLE_RATE
    with pytest.raises(AudioTooLong):
        list(heard)


def test_nothing_is_read_before_the_first_piece_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    heard = pieces(tmp_path / "empty.wav")
    with pytest.raises(EmptyAudio, match="0 bytes"):
        next(heard)


def test_an_open_file_without_bytes_is_named() -> None:
    with pytest.raises(EmptyAudio, match="0 bytes"):
        next(pieces(BytesIO()))


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


def joined(heard: list[Piece]) -> Audio:
    return np.concatenate([piece.samples for piece in heard])


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
