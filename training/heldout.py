"""Seeded test sets the demo models never heard: other sentences, other voices, other synthesisers, and no speech.

Every function yields clips with their words; the same seed gives the same clips on every machine with the same
synthesisers.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

from training import sounds, texts
from training.sounds import Audio
from training.speech import HELD_OUT_VARIANTS, SAMPLE_RATE, Synthesizer, TimedWord, Voice, random_voice


@dataclass(frozen=True)
class Clip:
    """Audio (float32 mono) and what is said in it; `words` have exact times, except where a docstring says not."""

    samples: Audio
    sample_rate: int
    words: list[TimedWord]
    voice: str

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(word.text for word in self.words)

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sample_rate


def clips(seed: int, count: int) -> Iterator[Clip]:
    """Single grammatical sentences by held-out voices, with a little silence around."""
    rng, synthesizer = np.random.default_rng([seed, 1]), Synthesizer()
    for _ in range(count):
        yield _speak(rng, synthesizer, random_voice(rng, HELD_OUT_VARIANTS), lambda: 1)


def long_files(seed: int, count: int, shortest_s: float = 120, longest_s: float = 300) -> Iterator[Clip]:
    """Files of some minutes: one held-out voice each, one to three sentences in a breath, then a pause."""
    rng, synthesizer = np.random.default_rng([seed, 2]), Synthesizer()
    for _ in range(count):
        voice, wanted = random_voice(rng, HELD_OUT_VARIANTS), rng.uniform(shortest_s, longest_s)
        clip = _speak(rng, synthesizer, voice, lambda: int(rng.integers(1, 4)))
        while clip.duration < wanted:
            clip = _append(clip, _speak(rng, synthesizer, voice, lambda: int(rng.integers(1, 4))))
        yield clip


def noisy(seed: int, count: int, decibel: float = 15.0) -> Iterator[Clip]:
    """The clips of `clips` with coloured noise at a signal-to-noise ratio in dB."""
    rng = np.random.default_rng([seed, 3])
    for clip in clips(seed, count):
        yield replace(clip, samples=sounds.add_noise(rng, clip.samples, decibel))


def non_speech(seed: int, seconds: float = 8.0) -> Iterator[Clip]:
    """Silence, noises, tones, hum, clicks, sweeps and chords: there is nothing to hear; `voice` names the sound."""
    rng, count = np.random.default_rng([seed, 4]), int(seconds * SAMPLE_RATE)
    kinds: dict[str, Callable[[], Audio]] = {
        "silence": lambda: np.zeros(count, np.float32),
        **{f"{name} noise": _noise_of(rng, count, colour) for name, colour in sounds.COLOURS.items()},
        **{f"tone {hertz} Hz": _tone_of(count, hertz) for hertz in (100, 440, 1000, 3000)},
        "hum": lambda: sounds.hum(rng, count),
        "clicks": lambda: sounds.clicks(rng, count),
        "sweep up": lambda: sounds.sweep(count, 100, 6000),
        "sweep down": lambda: sounds.sweep(count, 6000, 100),
        "chords": lambda: sounds.chords(rng, count),
    }
    for name, make in kinds.items():
        for level in (-40, -12):
            sound = make()
            loud = sound / (np.abs(sound).max() + 1e-9) * np.float32(10 ** (level / 20))
            yield Clip(loud.astype(np.float32), SAMPLE_RATE, [], f"{name} at {level} dB")


def _noise_of(rng: np.random.Generator, count: int, colour: float) -> Callable[[], Audio]:
    return lambda: sounds.noise(rng, count, colour)


def _tone_of(count: int, hertz: float) -> Callable[[], Audio]:
    return lambda: sounds.tone(count, hertz)


def _speak(rng: np.random.Generator, synthesizer: Synthesizer, voice: Voice, sentences: Callable[[], int]) -> Clip:
    """Some sentences 50 to 150 ms apart, with 0.3 to 0.9 s of silence before and after."""
    clip = Clip(_silence(rng.uniform(0.3, 0.9)), SAMPLE_RATE, [], f"{voice.language}+{voice.variant}")
    for _ in range(sentences()):
        said = synthesizer.say(texts.sentence(rng, held_out=True), voice)
        clip = _append(clip, Clip(said.samples, SAMPLE_RATE, said.words, clip.voice))
        clip = _append(clip, replace(clip, samples=_silence(rng.uniform(0.05, 0.15)), words=[]))
    return _append(clip, replace(clip, samples=_silence(rng.uniform(0.3, 0.9)), words=[]))


def _silence(seconds: float) -> Audio:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def _append(first: Clip, then: Clip) -> Clip:
    """One clip after the other."""
    words = [replace(word, start=word.start + first.duration, end=word.end + first.duration) for word in then.words]
    return replace(first, samples=np.concatenate([first.samples, then.samples]), words=first.words + words)


FESTIVAL_VOICES = {"kal_diphone": "festvox-kallpc16k", "ked_diphone": "festvox-kdlpc16k"}
"""Festival's voices and the Debian packages that hold them."""


def unheard_synthesisers(seed: int, count: int) -> Iterator[Clip]:
    """Held-out sentences by synthesisers that were never trained on: those of festival and pico that are installed.

    Word times are missing: all are zero. Raises RuntimeError with the command to install them if there is none.
    """
    speakers = _installed()
    if not speakers:
        packages = " ".join(FESTIVAL_VOICES.values())
        packages += " (and pico: libttspico-utils, of Debian's non-free)"
        raise RuntimeError(f"no other synthesiser is installed: apt-get install festival {packages}")
    rng = np.random.default_rng([seed, 5])
    for index in range(count):
        name = list(speakers)[index % len(speakers)]
        text = texts.sentence(rng, held_out=True)
        words = [TimedWord(word, 0.0, 0.0) for word in text.split()]
        samples = np.concatenate([_silence(0.4), _run(speakers[name], text), _silence(0.4)])
        yield Clip(samples, SAMPLE_RATE, words, name)


def _installed() -> dict[str, list[str]]:
    """Synthesisers by name, with the command that speaks; `OUT` and `TEXT` stand for the file and the text's file."""
    found: dict[str, list[str]] = {}
    if shutil.which("text2wave"):
        folder = Path("/usr/share/festival/voices/english")
        for voice in (voice for voice in FESTIVAL_VOICES if any(folder.glob(f"{voice}"))):
            found[f"festival {voice}"] = ["text2wave", "-o", "OUT", "-eval", f"(voice_{voice})", "TEXT"]
    if shutil.which("pico2wave"):
        found |= {f"pico {name}": ["pico2wave", "-l", name, "-w", "OUT", "SAY"] for name in ("en-US", "en-GB")}
    return found


def _run(command: list[str], text: str) -> Audio:
    """Speak with an outside command; 16 kHz, at half of full scale."""
    with tempfile.TemporaryDirectory() as folder:
        sound, written = Path(folder) / "speech.wav", Path(folder) / "text"
        written.write_text(text)
        places = {"OUT": str(sound), "TEXT": str(written), "SAY": text}
        subprocess.run([places.get(part, part) for part in command], check=True, capture_output=True)
        rate, samples = wavfile.read(sound)
    heard = resample_poly(samples.astype(np.float32), SAMPLE_RATE, rate) if rate != SAMPLE_RATE else samples
    return (heard / (np.abs(heard).max() + 1e-9) * 0.5).astype(np.float32)
