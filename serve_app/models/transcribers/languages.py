"""What every back end does about languages: refuse what it does not hear, decode each clip in its own."""

from collections.abc import Callable, Mapping, Sequence

from serve_app.errors import UnsupportedOption
from serve_app.stages import WindowText


def refuse_language(language: str | None, known: Sequence[str]) -> None:
    """Raise `UnsupportedOption` for a language that the snapshot does not hear."""
    if language is not None and language not in known:
        names = ", ".join(sorted(known))
        raise UnsupportedOption(f"this preset's model does not hear language '{language}', only: {names}", "language")


def refuse_translation() -> UnsupportedOption:
    """Return the error for a model that only transcribes."""
    return UnsupportedOption("this preset's model cannot translate; use one that is multilingual", "model")


def likeliest(heard: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the language of each clip."""
    return [max(row, key=row.__getitem__) for row in heard]


def each_in_its_own(languages: Sequence[str], decode: Callable[[list[int], str], list[WindowText]]) -> list[WindowText]:
    """Decode one batch per language, `decode(places, language)`; texts come back in the order of the clips."""
    texts: dict[int, WindowText] = {}
    for language in dict.fromkeys(languages):
        places = [place for place, each in enumerate(languages) if each == language]
        texts.update(zip(places, decode(places, language), strict=True))
    return [texts[place] for place in range(len(languages))]


def among(row: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    """Return the probabilities of the known languages alone, so that they sum to 1."""
    values = {code: row[code] for code in known if code in row}
    whole = sum(values.values())
    return {code: value / whole for code, value in values.items()}
