"""Make the clips that the repository ships, from voices and sentences that no model was trained on.

`python -m training.corpus` writes demo/conversation.{flac,json} and tests/data/. Everything is seeded: the same
versions of espeak-ng and FFmpeg give the same files.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.conversations import Conversation, conversation, perform
from training.media import write_audio, write_flac, write_silent_video, write_video
from training.speech import SAMPLE_RATE, Voice
from training.texts import is_held_out, sentence

SEED = 2026
MICHAEL = Voice("en-us", "Michael", rate=150, pitch=32, pitch_range=50)
LINDA = Voice("en-gb-x-rp", "linda", rate=160, pitch=55, pitch_range=55)
M5 = Voice("en-gb-x-rp", "m5", rate=165, pitch=45, pitch_range=50)
F4 = Voice("en-us", "f4", rate=155, pitch=60, pitch_range=60)

DIALOGUE = (
    (0, "hello and welcome to my library"),
    (1, "where is the book"),
    (0, "the library is closed after the meeting"),
    (1, "when does the bus leave"),
    (0, "the train starts on friday evening"),
    (1, "how much water do we have"),
    (0, "i would like some sugar"),
    (1, "most people like sugar"),
    (0, "what is his name"),
    (1, "my phone number is four four eight two"),
    (0, "the meeting was recorded after lunch"),
    (1, "the meeting in january was very good"),
    (0, "is this the library or the station"),
    (1, "our library is outside the station"),
)
LONG_SENTENCE = "they bought more trees but the cat carried the laptop"
"""The demo conversation of Michael and Linda and the one sentence, all of the held-out share of the texts."""


def main() -> None:
    """Write every clip and its reference below the folder given (the repository's root by default)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(), help="folder that gets demo/ and tests/data/")
    out = parser.parse_args().out
    make_demo(out / "demo")
    make_test_data(out / "tests" / "data")


def make_demo(folder: Path) -> None:
    """The conversation that the README and the playground use."""
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder, "conversation", demo_conversation())


def demo_conversation() -> Conversation:
    """Two clearly different voices, fourteen turns."""
    assert all(is_held_out(text) for _, text in DIALOGUE), "the dialogue must be made of held-out sentences"
    return perform(np.random.default_rng(SEED), [MICHAEL, LINDA], [(who, [text]) for who, text in DIALOGUE], (0.3, 0.8))


def make_test_data(folder: Path) -> None:
    """Speech of several lengths, sounds that are not speech, and files that are awkward to read."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    sentence_clip = perform(rng, [replace(MICHAEL, rate=125)], [(0, [LONG_SENTENCE])], (0.7, 0.9))
    write_clip(folder, "one_sentence", sentence_clip)
    write_clip(folder, "ten_seconds", monologue(rng, LINDA, seconds=10.0, gap_s=(0.3, 0.6)))
    write_clip(folder, "two_minutes", monologue(rng, M5, seconds=120.0, gap_s=(0.5, 5.0)))
    write_clip(folder, "three_speakers", conversation(rng, [MICHAEL, F4, LINDA], turns=10, held_out=True))
    for name, samples in sounds(rng).items():
        write_clip(folder, name, Conversation(samples))
    write_awkward_files(folder, sentence_clip)


def monologue(rng: np.random.Generator, voice: Voice, seconds: float, gap_s: tuple[float, float]) -> Conversation:
    """One voice saying held-out sentences until adding another would pass `seconds`; padded to exactly that."""
    texts: list[str] = []
    best = Conversation(np.zeros(0, np.float32))
    for _ in range(200):
        text = sentence(rng, held_out=True)
        longer = perform(np.random.default_rng(SEED), [voice], [(0, [t]) for t in [*texts, text]], gap_s)
        if longer.duration <= seconds:
            texts.append(text)
            best = longer
        elif seconds - best.duration < 2:
            break
    best.samples = np.pad(best.samples, (0, round(seconds * SAMPLE_RATE) - len(best.samples)))
    return best


def sounds(rng: np.random.Generator, seconds: float = 10.0) -> dict[str, NDArray[np.float32]]:
    """Silence, noise (half white, half pink) and tones: nothing that should be transcribed."""
    count = round(seconds * SAMPLE_RATE)
    white = rng.standard_normal(count // 2)
    spectrum = np.fft.rfft(rng.standard_normal(count - len(white)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), count - len(white))
    time = np.arange(count) / SAMPLE_RATE
    notes = np.array([220, 440, 330, 660, 550])[(time // 2).astype(int) % 5]
    return {
        "silence": np.zeros(count, np.float32),
        "noise": (0.03 * np.concatenate([white, pink / pink.std()])).astype(np.float32),
        "tones": (0.2 * np.sin(2 * np.pi * notes * time)).astype(np.float32),
    }


def write_awkward_files(folder: Path, clip: Conversation) -> None:
    """The short clip as 8 kHz stereo MP3, Opus in Ogg, AAC in MP4 with pictures; a video without sound; no audio."""
    right_is_softer = np.stack([clip.samples, 0.5 * clip.samples])
    write_audio(folder / "one_sentence_8khz_stereo.mp3", right_is_softer, "libmp3lame", rate=8000, bit_rate=32_000)
    write_audio(folder / "one_sentence.ogg", clip.samples, "libopus", bit_rate=24_000)
    write_video(folder / "video.mp4", clip.samples)
    write_silent_video(folder / "no_audio.mp4")
    (folder / "not_audio.bin").write_bytes(np.random.default_rng(SEED).bytes(4096))


def write_clip(folder: Path, name: str, clip: Conversation) -> None:
    """NAME.flac, rounded to 12 bits so that it packs well, and NAME.json: its words and turns in seconds."""
    write_flac(folder / f"{name}.flac", (np.round(clip.samples * 2047) / 2048).astype(np.float32))
    (folder / f"{name}.json").write_text(json.dumps(reference(clip), indent=1) + "\n")


def reference(clip: Conversation) -> dict[str, object]:
    """What is said in a clip, when, and by whom."""
    return {
        "duration": round(clip.duration, 3),
        "words": [_rounded(word._asdict()) for word in clip.words],
        "turns": [_rounded(turn._asdict()) for turn in clip.turns],
    }


def _rounded(item: dict[str, str | float]) -> dict[str, str | float]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in item.items()}


if __name__ == "__main__":
    main()
