"""Which language a file is in, from what several of its windows sound like."""

from collections.abc import Mapping, Sequence


def settle(probabilities: Sequence[Mapping[str, float]], weights: Sequence[float] | None = None) -> str:
    """Return the language of the largest sum over windows of weight × probability; of equals the first in the alphabet.

    Weights are such as seconds of speech; none given: all windows count alike. Raises ValueError for no windows.
    """
    totals: dict[str, float] = {}
    for weight, row in zip(weights or [1.0] * len(probabilities), probabilities, strict=True):
        for language, probability in row.items():
            totals[language] = totals.get(language, 0.0) + weight * probability
    if not totals:
        raise ValueError("no window was heard: settle needs the probabilities of at least one")
    return min(totals, key=lambda language: (-totals[language], language))
