"""Training chunks for diarization: a few seconds of conversation among many synthetic speakers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from queue import Queue
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.acoustics import worsen
from training.conversations import synthesizer
from training.sounds import Audio, not_speech, stretch
from training.speech import LANGUAGES, SAMPLE_RATE, TRAIN_VARIANTS, Voice
from training.texts import random_words, sentence

CHUNK_S = 5.0
FRAME = 640
"""Samples per frame of activity: 40 ms, the segmenter's frame."""
FRAMES = round(CHUNK_S * SAMPLE_RATE) // FRAME
LOCAL_SPEAKERS = 3
DEV_VARIANTS = ("m3", "f2", "Annie", "rob", "grandma", "quincy")
"""Voices not trained on, to choose the clustering with; the test voices are others again."""
PITCHES = (28, 40, 52, 64, 76)
TWINS = 0.5
"""Share of the groups in which two speakers differ in little but pitch."""
WARPS = (0.85, 0.90, 0.95, 1.0, 1.05, 1.11, 1.17)


@dataclass(frozen=True)
class Speaker:
    """A voice whose recordings are played `warp` times slower, which lengthens its vocal tract by as much."""

    voice: Voice
    warp: float


@dataclass
class Chunk:
    """Samples; activity (frames, 3) of 0 and 1; the numbers of the three local speakers (-1: nobody)."""

    samples: Audio
    activity: NDArray[np.float32]
    speakers: NDArray[np.int64]


@dataclass
class ChunkBatch:
    """Chunks, stacked: samples (batch, 1, time), activity (batch, 3, frames), speakers (batch, 3)."""

    samples: Tensor
    activity: Tensor
    speakers: Tensor


def make_speakers(rng: np.random.Generator) -> list[Speaker]:
    """Speakers that differ in variant, pitch or vocal tract; accent, pitch range and speed are each one's own."""
    variants = [variant for variant in TRAIN_VARIANTS if variant not in DEV_VARIANTS]
    combinations = product(variants, PITCHES, WARPS)
    return [Speaker(_own_voice(rng, variant, pitch), warp) for variant, pitch, warp in combinations]


class Pool:
    """Recordings of all speakers, made once and kept as 16-bit samples."""

    def __init__(self, rng: np.random.Generator, speakers: Sequence[Speaker], each: int = 8) -> None:
        self.speakers = speakers
        timbres = sorted({(speaker.voice.variant, speaker.warp) for speaker in speakers})
        self.timbres = np.array([timbres.index((one.voice.variant, one.warp)) for one in speakers])
        self.pitches = np.array([PITCHES.index(one.voice.pitch) for one in speakers])
        self._warps = np.array([WARPS.index(one.warp) for one in speakers])
        self._variants = np.array([one.voice.variant for one in speakers])
        self._recordings = [[_record(rng, speaker) for _ in range(each)] for speaker in speakers]

    @property
    def seconds(self) -> float:
        """Length of all recordings."""
        return sum(len(recording) for own in self._recordings for recording in own) / SAMPLE_RATE

    def pick(self, rng: np.random.Generator, speaker: int) -> Audio:
        """One of a speaker's recordings."""
        own = self._recordings[speaker]
        return own[rng.integers(len(own))].astype(np.float32) / 32768

    def pick_group(self, rng: np.random.Generator, count: int) -> list[int]:
        """Speakers of different variants; in some groups two have nearly the same timbre and clearly other pitches."""
        group: list[int] = []
        if count > 1 and rng.random() < TWINS:
            one = int(rng.integers(len(self.speakers)))
            group = [one, int(rng.choice(self._twins_of(one)))]
        while len(group) < count:
            one = int(rng.integers(len(self.speakers)))
            if all(self.speakers[one].voice.variant != self.speakers[other].voice.variant for other in group):
                group.append(one)
        return rng.permutation(group).tolist()

    def _twins_of(self, one: int) -> NDArray[np.int64]:
        alike = (self._variants == self._variants[one]) & (abs(self._warps - self._warps[one]) <= 1)
        return np.flatnonzero(alike & (abs(self.pitches - self.pitches[one]) >= 1))


def make_chunk(rng: np.random.Generator, pool: Pool) -> Chunk:
    """A stretch of a conversation of one to three speakers, or (3 %) something that is not speech."""
    group = pool.pick_group(rng, int(rng.choice([1, 2, 3], p=[0.2, 0.5, 0.3])))
    chunk = Chunk(
        np.zeros(round(CHUNK_S * SAMPLE_RATE), np.float32),
        np.zeros((FRAMES, LOCAL_SPEAKERS), np.float32),
        np.array(group + [-1] * (LOCAL_SPEAKERS - len(group))),
    )
    if rng.random() < 0.03:
        chunk.samples = not_speech(rng, len(chunk.samples))
        return chunk
    _talk(rng, pool, group, chunk)
    chunk.samples = worsen(rng, chunk.samples)
    return chunk


def batches(pool: Pool, size: int, seed: int) -> Iterator[ChunkBatch]:
    """Batches without end, made one ahead in a thread."""
    ready: Queue[ChunkBatch] = Queue(maxsize=2)
    rng = np.random.default_rng(seed)

    def work() -> None:
        while True:
            ready.put(_stack([make_chunk(rng, pool) for _ in range(size)]))

    Thread(target=work, daemon=True).start()
    while True:
        yield ready.get()


def _talk(rng: np.random.Generator, pool: Pool, group: Sequence[int], chunk: Chunk) -> None:
    """Turns of one or two recordings each, until the chunk is full; the first may begin before it."""
    levels = 10 ** (rng.uniform(-3, 3, len(group)) / 20)
    at, last = -rng.uniform(-0.8, 3.0), -1
    while at < CHUNK_S:
        others = [i for i in range(len(group)) if i != last]
        last = int(rng.choice(others)) if others and (last < 0 or rng.random() < 0.85) else max(last, 0)
        turn = _turn(rng, pool, group[last])
        _add(chunk, turn * np.float32(levels[last]), at, last)
        at += len(turn) / SAMPLE_RATE + _gap(rng)


def _turn(rng: np.random.Generator, pool: Pool, speaker: int) -> Audio:
    turn = pool.pick(rng, speaker)
    if rng.random() < 0.3:
        pause = np.zeros(int(rng.uniform(0.15, 0.4) * SAMPLE_RATE), np.float32)
        turn = np.concatenate([turn, pause, pool.pick(rng, speaker)])
    return turn


def _gap(rng: np.random.Generator) -> float:
    """Seconds between turns: mostly 0.2 to 1, some shorter or longer, some negative (both speak)."""
    kind = rng.random()
    if kind < 0.78:
        return float(rng.uniform(0.2, 1.0))
    if kind < 0.88:
        return float(rng.uniform(0.0, 0.2))
    return float(rng.uniform(1.0, 2.5) if kind < 0.93 else -rng.uniform(0.0, 1.0))


def _add(chunk: Chunk, turn: Audio, at: float, local: int) -> None:
    """Mix in a turn that starts at `at` seconds, which may be negative; mark its frames as active."""
    first = round(at * SAMPLE_RATE)
    turn = turn[max(-first, 0) :]
    first = max(first, 0)
    turn = turn[: len(chunk.samples) - first]
    chunk.samples[first : first + len(turn)] += turn
    chunk.activity[round(first / FRAME) : round((first + len(turn)) / FRAME), local] = 1


def _stack(chunks: Sequence[Chunk]) -> ChunkBatch:
    return ChunkBatch(
        torch.from_numpy(np.stack([chunk.samples for chunk in chunks]))[:, None],
        torch.from_numpy(np.stack([chunk.activity.T for chunk in chunks])),
        torch.from_numpy(np.stack([chunk.speakers for chunk in chunks])),
    )


def _own_voice(rng: np.random.Generator, variant: str, pitch: int) -> Voice:
    return Voice(str(rng.choice(LANGUAGES)), variant, int(rng.integers(135, 196)), pitch, int(rng.integers(25, 76)))


def _record(rng: np.random.Generator, speaker: Speaker) -> NDArray[np.int16]:
    """A sentence (or one to three words) in the speaker's voice, which is never quite the same; pauses cut off."""
    short = rng.random() < 0.15
    text = random_words(rng, int(rng.integers(1, 4))) if short else sentence(rng)
    voice = speaker.voice
    varied = replace(
        voice,
        rate=voice.rate + int(rng.integers(-12, 13)),
        pitch=voice.pitch + int(rng.integers(-3, 4)),
        pitch_range=voice.pitch_range + int(rng.integers(-8, 9)),
    )
    said = synthesizer().say(text, varied)
    spoken = said.samples[round(said.words[0].start * SAMPLE_RATE) : round(said.words[-1].end * SAMPLE_RATE)]
    return (stretch(spoken, speaker.warp).clip(-1, 1) * 32767).astype(np.int16)
