"""Makes the training shards, and the pool of flite's utterances that is mixed into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training import flite, texts
from training.speech import TimedWord, Utterance
from training.whisper.data import write_shard

WINDOWS = 1000
POOL = "flite.npz"


def load_pool(path: Path, count: int, seed: int = 71) -> list[Utterance]:
    """`count` utterances of flite, kept in a file; none where flite is not installed."""
    if not flite.available():
        print("flite is not installed (apt-get install flite): training on espeak-ng alone")
        return []
    if not path.exists():
        _save(path, _speak(np.random.default_rng(seed), count))
    return _load(path)


def _speak(rng: np.random.Generator, count: int) -> list[Utterance]:
    texts_ = [texts.sentence(rng) if rng.random() < 0.7 else texts.random_words(rng, 6) for _ in range(count)]
    return [flite.say(text, flite.random_flite_voice(rng)) for text in texts_]


def _save(path: Path, pool: list[Utterance]) -> None:
    """Write the pool as three flat arrays."""
    samples = [np.rint(utterance.samples * 32767).astype(np.int16) for utterance in pool]
    words = [(i, word.text, word.start, word.end) for i, utterance in enumerate(pool) for word in utterance.words]
    number, text, start, end = zip(*words, strict=True)
    lengths = np.cumsum([len(part) for part in samples])
    np.savez(path, samples=np.concatenate(samples), ends=lengths, number=number, text=text, start=start, end=end)


def _load(path: Path) -> list[Utterance]:
    data = np.load(path)
    parts = np.split(data["samples"], data["ends"][:-1])
    pool = [Utterance(part.astype(np.float32) / 32768, [], []) for part in parts]
    for number, text, start, end in zip(data["number"], data["text"], data["start"], data["end"], strict=True):
        pool[number].words.append(TimedWord(str(text), float(start), float(end)))
    return pool


def write_every(rank: int, folder: Path, shards: int, step: int) -> None:
    """Write shards `rank`, `rank + step` … below `shards` that are not there yet; a shard's number is its seed."""
    pool = _load(folder / POOL) if (folder / POOL).exists() else []
    for number in range(rank, shards, step):
        write_shard(folder / f"shard_{number:03d}", 1000 + number, WINDOWS, pool)
        print(f"shard {number}", flush=True)
