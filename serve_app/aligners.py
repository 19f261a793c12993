"""The aligners in memory: one for each language, loaded when it is first heard; the least recently used one goes."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What gives its memory back when it is told to."""

    def close(self) -> None:
        """Give the memory back."""


Loaded = TypeVar("Loaded", bound=Closable)


@dataclass(slots=True)
class _Place(Generic[Loaded]):
    """A language's aligner, loaded or on its way, and how many use it or wait for it."""

    aligner: Future[Loaded] = field(default_factory=Future)
    users: int = 0


class Aligners(Generic[Loaded]):
    """Keeps at most `keep` languages' aligners, and more only while more are in use; may be used from any thread.

    `load(language)` runs in the thread that asks first; others who ask meanwhile wait for it, and get its error. A
    language whose loading failed is loaded anew when it is asked for again. While one loads, `keep` others are held.
    """

    def __init__(self, load: Callable[[str], Loaded], keep: int, first: str) -> None:
        self._load, self._keep = load, keep
        self._places: dict[str, _Place[Loaded]] = {}
        """By language, the least recently used first."""
        self._lock = Lock()
        with self.use(first):
            pass

    @contextmanager
    def use(self, language: str) -> Iterator[Loaded]:
        """Lend a language's aligner; it is not dropped meanwhile. Raises what loading it raised."""
        place, is_new = self._enter(language)
        try:
            if is_new:
                self._fill(language, place)
            yield place.aligner.result()
        finally:
            self._leave(place)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages in memory or on their way, the least recently used first."""
        with self._lock:
            return tuple(self._places)

    def _enter(self, language: str) -> tuple[_Place[Loaded], bool]:
        with self._lock:
            known = self._places.pop(language, None)
            place = self._places[language] = known or _Place()
            place.users += 1
            return place, known is None

    def _fill(self, language: str, place: _Place[Loaded]) -> None:
        try:
            place.aligner.set_result(self._load(language))
        except BaseException as error:  # those who wait for it get it too
            with self._lock:
                del self._places[language]
            place.aligner.set_exception(error)
            raise

    def _leave(self, place: _Place[Loaded]) -> None:
        with self._lock:
            place.users -= 1
            dropped = self._surplus()
        for surplus in dropped:
            surplus.aligner.result().close()

    def _surplus(self) -> list[_Place[Loaded]]:
        """Take out what is not in use, the least recently used first, until no more than `keep` are left."""
        idle = [language for language, place in self._places.items() if not place.users]
        return [self._places.pop(language) for language in idle[: max(0, len(self._places) - self._keep)]]
