"""From the voices of all chunks to the speakers of a file: pyannote's own steps, with bounded memory.

The clustering holds the distances between all pairs of embeddings: 8 bytes x n². Above `MOST_EMBEDDINGS` only so many,
evenly spread over the file, are clustered; all embeddings go to the nearest centroid in any case, as pyannote has it.
Files under some two hours are not touched by this. A speaker heard for a few seconds in ten hours may then be missed.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve_app.options import SpeakerOptions
from serve_app.transcript import SpeakerTurn
from serve_app.voices import Speakers, Voices

MOST_EMBEDDINGS = 12_000
"""1.1 GB and 20 s for the distances, and so for two hours of dense talk, which have about as many, or more."""
_ROWS = 1 << 16


class Clusterer:
    """Counts, clusters and puts together, with a pyannote pipeline's models left alone."""

    def __init__(self, pipeline: Any, most_embeddings: int = MOST_EMBEDDINGS) -> None:
        self._pipeline = pipeline
        self._chunks = pipeline._segmentation
        self._frames = pipeline._segmentation.model.receptive_field
        self._every = pipeline.clustering.filter_embeddings
        self._most = most_embeddings
        pipeline.clustering.filter_embeddings = self._some

    def _some(self, embeddings: NDArray[np.float32], segmentations: Any = None, **options: Any) -> tuple[Any, ...]:
        """Return pyannote's choice of embeddings, thinned evenly where they are too many."""
        chosen, chunks, speakers = self._every(embeddings, segmentations=segmentations, **options)
        if len(chosen) > self._most:
            kept = np.linspace(0, len(chosen) - 1, self._most).astype(int)
            chosen, chunks, speakers = chosen[kept], chunks[kept], speakers[kept]
        return chosen, chunks, speakers

    def binary(self, scores: NDArray[Any]) -> Any:
        """Return 0 or 1 for each (chunk, frame, speaker) as pyannote's sliding windows."""
        from pyannote.audio.utils.signal import binarize
        from pyannote.core import SlidingWindow, SlidingWindowFeature

        window = SlidingWindow(start=0.0, duration=self._chunks.duration, step=self._chunks.step)
        windows = SlidingWindowFeature(scores, window)
        if self._chunks.model.specifications.powerset:
            return windows
        return binarize(windows, onset=self._pipeline.segmentation.threshold, initial_state=False)

    def centroid(self, voices: Voices) -> NDArray[np.float32] | None:
        """Return the mean voice of all speakers; None where nobody talks."""
        active = self.binary(voices.scores)
        found, _, _ = self._every(voices.embeddings, segmentations=active)
        if not len(found):
            found = voices.embeddings[active.data.any(1)]
        mean: NDArray[np.float32] | None = found.mean(0) if len(found) else None
        return mean

    def __call__(self, scores: NDArray[Any], embeddings: NDArray[np.float32], options: SpeakerOptions) -> Speakers:
        """Return the speakers under pyannote's names; `scores` and `embeddings` as in `Voices`, of the whole file."""
        active = self.binary(scores)
        count = self._pipeline.speaker_count(active, self._frames, warm_up=(0.0, 0.0)).data[:, 0]
        if not count.any():
            return Speakers()
        clusters, centroids, most = self._cluster(active, embeddings, options)
        clusters[~active.data.any(1)] = -2
        sure = self._activations(scores, clusters, len(count))
        count = np.minimum(count, most)
        overlapping = self._annotation(_loudest(sure, count))
        exclusive = self._annotation(_loudest(sure, np.minimum(count, 1)))
        names = dict(zip(overlapping.labels(), self._pipeline.classes(), strict=False))
        return Speakers(_turns(overlapping, names), _turns(exclusive, names), _voices(centroids, names))

    def _cluster(self, active: Any, embeddings: NDArray[np.float32], options: SpeakerOptions) -> tuple[Any, Any, float]:
        """Return the cluster of each (chunk, speaker), the clusters' centroids, and how many may talk at once."""
        wanted = (options.num_speakers, options.min_speakers, options.max_speakers)
        number, least, most = self._pipeline.set_num_speakers(*wanted)
        room = max(1, len(self._some(embeddings, segmentations=active)[0]))  # k-means refuses more clusters than voices
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no embedding
            clusters, _, centroids = self._pipeline.clustering(
                embeddings=embeddings,
                segmentations=active,
                num_clusters=number and min(number, room),
                min_clusters=min(least, room),
                max_clusters=most,
            )
        return clusters, centroids, most

    def _activations(self, scores: NDArray[Any], clusters: NDArray[Any], frames: int) -> NDArray[np.float32]:
        """Add up (frames, clusters) over all chunks: `reconstruct` without an array of chunks x frames x clusters."""
        total = np.zeros((frames, clusters.max() + 1), np.float32)
        step, half = self._chunks.step, 0.5 * self._frames.duration
        for index, (chunk, mine) in enumerate(zip(scores, clusters, strict=True)):
            first = round((index * step + half - half) / self._frames.step)
            for cluster in set(mine[mine >= 0].tolist()):
                total[first : first + len(chunk), cluster] += chunk[:, mine == cluster].max(1)
        return total

    def _annotation(self, active: NDArray[np.bool_]) -> Any:
        """Return turns from the middle of a speaker's first frame to the middle of the first without him."""
        from pyannote.core import Annotation, Segment

        found, collar = Annotation(), self._pipeline.segmentation.min_duration_off
        starts = np.arange(len(active)) * self._frames.step
        middles = 0.5 * (starts + (starts + self._frames.duration))
        for speaker, frames in enumerate(active.T):
            for start, stop in _runs(frames):
                found[Segment(middles[start], middles[stop]), speaker] = speaker
        return found.support(collar=collar) if collar > 0 else found


def _loudest(sure: NDArray[np.float32], count: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (frames, clusters): in each frame as many of the surest as talk at once (pyannote's `to_diarization`)."""
    sure = np.pad(sure, ((0, 0), (0, max(0, int(count.max()) - sure.shape[1]))))
    chosen = np.zeros(sure.shape, bool)
    for at in range(0, len(sure), _ROWS):
        part = slice(at, at + _ROWS)
        order = np.argsort(-sure[part], axis=-1)
        np.put_along_axis(chosen[part], order, np.arange(sure.shape[1]) < count[part, None], axis=1)
    return chosen


def _runs(frames: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where stretches of active frames begin, and the first frame after each (or the last of all)."""
    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False))
    for start, stop in edges.reshape(-1, 2).tolist():
        if start < (end := min(stop, len(frames) - 1)):
            yield start, end


def _turns(annotation: Any, names: dict[Any, str]) -> tuple[SpeakerTurn, ...]:
    tracks = annotation.itertracks(yield_label=True)
    return tuple(SpeakerTurn(round(turn.start, 3), round(turn.end, 3), names[label]) for turn, _, label in tracks)


def _voices(centroids: NDArray[Any], names: dict[Any, str]) -> dict[str, tuple[float, ...]]:
    """Return the centroid of each speaker; one whom no cluster stands for has none."""
    known = {label: centroids[label] for label in names if label < len(centroids)}
    return {names[label]: tuple(voice.tolist()) for label, voice in known.items() if np.isfinite(voice).all()}
