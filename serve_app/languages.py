"""Which language a file is in, from what several of its windows sound like."""

from collections.abc import Collection, Mapping, Sequence

from serve_app.errors import UnsupportedOption


def settle(
    probabilities: Sequence[Mapping[str, float]],
    weights: Sequence[float] | None = None,
    among: Collection[str] = (),
) -> str:
    """Return the language of the largest sum over windows of weight × probability; of equals the first in the alphabet.

    Weights are such as seconds of speech; none given: all windows count alike. `among`: the languages that it may be;
    none: all. Raises ValueError for no windows, UnsupportedOption where the model knows none of these languages.
    """
    totals: dict[str, float] = {}
    for weight, row in zip(weights or [1.0] * len(probabilities), probabilities, strict=True):
        for language, probability in row.items():
            totals[language] = totals.get(language, 0.0) + weight * probability
    if not totals:
        raise ValueError("no window was heard: settle needs the probabilities of at least one")
    known = sorted(totals)
    totals = {language: total for language, total in totals.items() if not among or language in among}
    if not totals:
        raise UnsupportedOption(
            f"'languages': this preset's model hears none of {', '.join(sorted(among))}; it knows {', '.join(known)}",
            "languages",
        )
    return min(totals, key=lambda language: (-totals[language], language))
