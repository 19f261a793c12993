"""The diarization model: a pyannote pipeline from a directory, which hears a file block by block."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.blocks import BLOCK_S, REACH_S, Block
from serve_app.config import DiarizationArgs
from serve_app.errors import BadAudio
from serve_app.known_speakers import name_known
from serve_app.models.devices import load_on, usable_device
from serve_app.models.diarizer_chunks import Chunks
from serve_app.models.diarizer_clustering import Clusterer
from serve_app.models.diarizer_embeddings import Embedder
from serve_app.models.environment import go_offline
from serve_app.options import SpeakerOptions
from serve_app.stages import Audio
from serve_app.transcript import SpeakerTurn
from serve_app.voices import Speakers, Voices
from serve_app.windows import SAMPLE_RATE


def import_libraries() -> None:
    """Import what a diarizer needs, torch among it, and end the thread that would send what pyannote counts."""
    from pyannote.audio.telemetry import metrics

    metrics.provider.shutdown()


class Diarizer:
    """Finds speaker turns: `hear` every block, on whatever replica, then `turns` over all of them."""

    def __init__(self, path: Path, args: DiarizationArgs, threads: int) -> None:
        go_offline()
        import torch

        torch.set_num_threads(threads)
        self._pipeline, self.device = _load(path, args)
        segmentation = self._pipeline._segmentation
        self._chunks = Chunks(round(segmentation.duration * SAMPLE_RATE), round(segmentation.step * SAMPLE_RATE))
        self._clusterer = Clusterer(self._pipeline)
        scores = self._segment(np.zeros(self._chunks.length, np.float32))
        _, self._frames, self._speakers = scores.shape
        self._type = np.uint8 if segmentation.model.specifications.powerset else np.float32
        self._embedder = Embedder(self._pipeline, self._chunks, self._frames, args.batch_size)
        self._known_threshold = args.known_threshold

    def warm_up(self) -> None:
        """Run both networks on full batches of noise: on silence they would not be run at all."""
        samples = BLOCK_S * SAMPLE_RATE
        noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
        self._segment(noise)
        everybody = np.ones((self._chunks.count(samples), self._frames, self._speakers), np.uint8)
        self._embedder(noise, everybody)

    def hear(self, block: Block, audio: Audio) -> Voices:
        """Return who is heard in the chunks that begin in a block; `audio` are the block's samples.

        Peak memory beside the models: 0.14 GB with the demo model at a batch of 16, whatever the file's length.
        """
        own = self._chunks.own(block)
        samples = audio[: self._chunks.reach(len(own))]
        if not samples.any():
            return self._nobody(own)
        scores = self._segment(samples)
        embeddings = self._embedder(samples, self._clusterer.binary(scores).data)
        return Voices(own.start, scores.astype(self._type), embeddings)

    def turns(self, voices: Sequence[Voices], options: SpeakerOptions) -> Speakers:
        """Return the speakers of a file from the voices of all its blocks, as pyannote finds them in the whole file.

        Speakers bear the names of those they match in `options.known`, else A, B, … in the order of their first turns.
        Peak memory beside the models and the voices: 1.1 GB for 2 hours of dense talk, 1.2 GB for 10, nearly all of it
        the clustering's (`python -m benchmarks.scheduler voices`).
        """
        ordered = sorted(voices, key=lambda block: block.first)
        if not ordered:
            return Speakers()
        _check_complete(ordered)
        scores = np.concatenate([block.scores for block in ordered])
        embeddings = np.concatenate([block.embeddings for block in ordered])
        found = self._clusterer(scores, embeddings, options) if len(scores) else Speakers()
        return name_known(found, options.known, self._known_threshold)

    def embed(self, audio: Audio) -> NDArray[np.float32]:
        """Return the mean voice (dimension,) of a clip in which one person talks; raises BadAudio where nobody does."""
        parts = [self.hear(block, samples) for block, samples in _blocks(audio)]
        voices = Voices(0, np.concatenate([p.scores for p in parts]), np.concatenate([p.embeddings for p in parts]))
        found = self._clusterer.centroid(voices)
        if found is None:
            raise BadAudio("nobody talks in this reference; give 2 to 10 s of one speaker", "known_speaker_references")
        return found

    def diarize(self, audio: Audio, options: SpeakerOptions) -> list[SpeakerTurn]:
        """Return the turns of a whole file in the order of time."""
        return list(self.turns([self.hear(block, samples) for block, samples in _blocks(audio)], options).turns)

    def _segment(self, samples: Audio) -> NDArray[np.float32]:
        """Return how sure each (chunk, frame, speaker) is."""
        import torch

        waveform = torch.from_numpy(samples[None].copy())
        found = self._pipeline.get_segmentations({"waveform": waveform, "sample_rate": SAMPLE_RATE})
        return np.asarray(found.data, np.float32)

    def _nobody(self, own: range) -> Voices:
        scores = np.zeros((len(own), self._frames, self._speakers), self._type)
        return Voices(own.start, scores, self._embedder.silence(len(own), self._speakers))


def _load(path: Path, args: DiarizationArgs) -> tuple[Any, str]:
    """Return the pipeline and the device that it is on."""
    import torch
    from pyannote.audio import Pipeline

    pipeline = Pipeline.from_pretrained(path)
    if pipeline is None:
        raise FileNotFoundError(f"{path} holds no pyannote pipeline; verify the snapshot with `model-store verify`")
    if not pipeline.instantiated:
        pipeline.instantiate(pipeline.default_parameters())
    pipeline.segmentation_batch_size = args.batch_size
    return load_on(args, usable_device(args), lambda device: pipeline.to(torch.device(device)))


def _blocks(audio: Audio) -> Iterator[tuple[Block, Audio]]:
    """Yield a whole file's blocks."""
    size, reach = BLOCK_S * SAMPLE_RATE, (BLOCK_S + REACH_S) * SAMPLE_RATE
    for start in range(0, max(1, len(audio)), size):
        stop = min(start + reach, len(audio))
        yield Block(start, stop, start + size >= len(audio)), audio[start:stop]


def _check_complete(ordered: Sequence[Voices]) -> None:
    """Raise where a block's voices are missing, or there twice."""
    filled = [block for block in ordered if len(block.scores)]
    ends = [0, *(block.stop for block in filled)]
    for expected, block in zip(ends, filled, strict=False):
        if block.first != expected:
            where = min(expected, block.first)
            raise ValueError(f"the voices of chunk {where} are missing or there twice; hear every block exactly once")
