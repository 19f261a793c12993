"""Which aligners stay in memory; aligners and loading are fakes, threads are real."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from time import sleep as yield_to_others

import pytest

from serve_app.aligners import Aligners

PATIENCE_S = 10


@dataclass
class FakeAligner:
    language: str
    closed: int = 0

    def close(self) -> None:
        self.closed += 1


@dataclass
class FakeLoader:
    """Loads fakes and counts them; a language with a gate waits for it, one with an error fails once."""

    gates: dict[str, Event] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    loaded: list[FakeAligner] = field(default_factory=list)
    began: dict[str, Event] = field(default_factory=dict)

    def __call__(self, language: str) -> FakeAligner:
        self.began.setdefault(language, Event()).set()
        if language in self.gates:
            assert self.gates[language].wait(PATIENCE_S)
        if language in self.errors:
            raise self.errors.pop(language)
        self.loaded.append(FakeAligner(language))
        return self.loaded[-1]

    @property
    def languages(self) -> list[str]:
        return [aligner.language for aligner in self.loaded]


def touch(aligners: Aligners[FakeAligner], *languages: str) -> None:
    for language in languages:
        with aligners.use(language) as aligner:
            assert aligner.language == language
            assert not aligner.closed


def test_the_first_language_is_loaded_at_once_and_others_when_they_are_asked_for() -> None:
    load = FakeLoader()
    aligners = Aligners(load, 3, "en")
    assert load.languages == ["en"]
    touch(aligners, "de", "en", "de")
    assert load.languages == ["en", "de"]
    assert aligners.languages == ("en", "de")


def test_the_least_recently_used_goes_and_is_closed_once() -> None:
    load = FakeLoader()
    aligners = Aligners(load, 2, "en")
    touch(aligners, "de", "en", "fr")
    assert aligners.languages == ("en", "fr")
    assert [aligner.language for aligner in load.loaded if aligner.closed] == ["de"]
    touch(aligners, "de")
    assert load.languages == ["en", "de", "fr", "de"]
    assert [aligner.closed for aligner in load.loaded] == [1, 1, 0, 0]


def test_what_is_in_use_stays_and_goes_when_it_is_given_back() -> None:
    load = FakeLoader()
    aligners = Aligners(load, 1, "en")
    with aligners.use("en") as english:
        with aligners.use("en"):
            touch(aligners, "de")
            assert aligners.languages == ("en",)  # German was idle, English was not
        touch(aligners, "fr")
        assert not english.closed
    with aligners.use("en") as english, aligners.use("de") as german:
        assert aligners.languages == ("en", "de")
    assert (english.closed, german.closed) == (0, 1)  # German was given back first
    assert aligners.languages == ("en",)


def test_a_user_who_fails_gives_the_aligner_back() -> None:
    aligners = Aligners(FakeLoader(), 1, "en")
    with pytest.raises(ZeroDivisionError), aligners.use("de"):
        _ = 1 / 0
    touch(aligners, "fr")
    assert aligners.languages == ("fr",)


def test_two_who_ask_at_once_share_one_loading() -> None:
    load = FakeLoader(gates={"de": Event()})
    aligners = Aligners(load, 2, "en")
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(touch, aligners, "de") for _ in range(4)]
        waiting_for(load, "de")
        touch(aligners, "en")  # another language does not wait for the one that loads
        load.gates["de"].set()
        finish(asking)
    assert load.languages == ["en", "de"]


def test_a_failing_load_fails_all_who_wait_and_may_be_tried_again() -> None:
    load = FakeLoader(gates={"de": Event()}, errors={"de": OSError("no such snapshot")})
    aligners = Aligners(load, 2, "en")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(touch, aligners, "de")
        waiting_for(load, "de")
        second = pool.submit(touch, aligners, "de")
        until_users(aligners, "de", 2)
        load.gates["de"].set()
        for asked in (first, second):
            assert isinstance(asked.exception(PATIENCE_S), OSError)
    assert aligners.languages == ("en",)
    touch(aligners, "de")
    assert load.languages == ["en", "de"]


def test_a_failing_load_drops_nothing() -> None:
    load = FakeLoader(errors={"de": OSError("no such snapshot")})
    aligners = Aligners(load, 1, "en")
    with pytest.raises(OSError, match="no such snapshot"):
        touch(aligners, "de")
    assert aligners.languages == ("en",)
    assert not load.loaded[0].closed


def test_a_first_language_that_cannot_be_loaded_is_an_error() -> None:
    with pytest.raises(OSError, match="none"):
        Aligners(FakeLoader(errors={"en": OSError("none")}), 1, "en")


def test_many_threads_over_more_languages_than_are_kept_never_meet_a_closed_aligner() -> None:
    load = FakeLoader()
    aligners = Aligners(load, 2, "en")
    languages = ["en", "de", "fr", "es", "it"]
    with ThreadPoolExecutor(8) as pool:
        finish([pool.submit(touch, aligners, *languages[i % 5 :], *languages[: i % 5]) for i in range(200)])
    alive = [aligner for aligner in load.loaded if not aligner.closed]
    assert sorted(aligner.language for aligner in alive) == sorted(aligners.languages)
    assert len(alive) == 2
    assert all(aligner.closed <= 1 for aligner in load.loaded)


def waiting_for(load: FakeLoader, language: str) -> None:
    assert load.began.setdefault(language, Event()).wait(PATIENCE_S)


def until_users(aligners: Aligners[FakeAligner], language: str, users: int) -> None:
    """Wait until so many use or wait for a language: nothing outside tells that a thread waits."""
    deadline = monotonic() + PATIENCE_S
    while aligners._places[language].users < users:
        assert monotonic() < deadline
        yield_to_others(0)


def finish(asked: list[Future[None]]) -> None:
    for each in asked:
        each.result(PATIENCE_S)
