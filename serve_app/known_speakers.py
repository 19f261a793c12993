"""Names for speakers: known ones by their voices, strangers by letters."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from serve_app.options import KnownSpeaker
from serve_app.speakers import alphabet
from serve_app.transcript import SpeakerTurn
from serve_app.voices import Speakers


def name_known(speakers: Speakers, known: Sequence[KnownSpeaker], threshold: float) -> Speakers:
    """Give speakers the names of the references they match, and letters to the others in the order of appearance.

    A name goes to one speaker at most and a speaker bears one name; of all such ways the one with the highest sum of
    cosine similarities, each at least `threshold`. Several references of one name stand for it together. No letter is a
    known name.
    """
    matched = _matches(speakers.embeddings, known, threshold)
    names = matched | _strangers(speakers.turns, matched, {each.name for each in known})
    return Speakers(
        tuple(replace(turn, speaker=names[turn.speaker]) for turn in speakers.turns),
        tuple(replace(turn, speaker=names[turn.speaker]) for turn in speakers.exclusive if turn.speaker in names),
        {names[speaker]: voice for speaker, voice in speakers.embeddings.items() if speaker in names},
    )


def _matches(voices: Mapping[str, Sequence[float]], known: Sequence[KnownSpeaker], threshold: float) -> dict[str, str]:
    """Return speaker → known name."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]  # scipy ships no types

    if not voices or not known:
        return {}
    speakers, names = list(voices), list(dict.fromkeys(each.name for each in known))
    alike = similarity([voices[speaker] for speaker in speakers], [each.embedding for each in known])
    best = np.stack([alike[:, [each.name == name for each in known]].max(1) for name in names], 1)
    rows, columns = linear_sum_assignment(np.where(best >= threshold, best + 1, 0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {speakers[row]: names[column] for row, column in pairs if best[row, column] >= threshold}


def similarity(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair, (ones, others); 0 where a voice is all 0."""
    left, right = np.asarray(ones, np.float64), np.asarray(others, np.float64)
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    products: NDArray[np.float64] = left @ right.T
    products[lengths > 0] /= lengths[lengths > 0]
    return products


def _strangers(turns: Sequence[SpeakerTurn], matched: Collection[str], taken: Collection[str]) -> dict[str, str]:
    """Return speaker → letter for those without a name."""
    free = (name for name in alphabet() if name not in taken)
    names: defaultdict[str, str] = defaultdict(lambda: next(free))
    for turn in sorted(turns, key=lambda turn: turn.start):
        if turn.speaker not in matched:
            names[turn.speaker]
    return dict(names)
