"""Decoding: whatever FFmpeg reads becomes mono at 16 kHz, and what cannot be heard is refused by its reason."""

import json
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sounds import joined, tone, wav, with_a_gap

from serve_app.errors import AudioTooLong, BadAudio, EmptyAudio, NoAudioStream, NotAudio
from serve_app.models.audio import decode, pieces
from serve_app.stages import Audio
from serve_app.windows import SAMPLE_RATE

SENTENCE = ["one_sentence.ogg", "one_sentence_8khz_stereo.mp3", "video.mp4"]


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
