"""One language for a file, out of several windows."""

import pytest

from serve_app.errors import UnsupportedOption
from serve_app.languages import settle


def test_windows_vote_with_their_probabilities() -> None:
    assert settle([{"en": 0.6, "de": 0.4}, {"en": 0.6, "de": 0.4}, {"en": 0.05, "de": 0.95}]) == "de"
    assert settle([{"en": 0.6, "de": 0.4}]) == "en"


def test_longer_windows_weigh_more() -> None:
    rows = [{"en": 0.6, "de": 0.4}, {"en": 0.3, "de": 0.7}]
    assert settle(rows, [1.0, 1.0]) == "de"
    assert settle(rows, [30.0, 2.0]) == "en"


def test_a_language_that_a_window_does_not_name_has_no_vote_there() -> None:
    assert settle([{"en": 0.5}, {"de": 0.4}, {"de": 0.2}]) == "de"


def test_a_tie_does_not_depend_on_the_order() -> None:
    assert settle([{"de": 0.5, "en": 0.5}]) == settle([{"en": 0.5, "de": 0.5}]) == "de"


def test_weights_belong_to_windows() -> None:
    with pytest.raises(ValueError, match="zip"):
        settle([{"en": 1.0}], [1.0, 2.0])
    with pytest.raises(ValueError, match="no window was heard"):
        settle([])


def test_only_languages_that_it_may_be_are_settled_on() -> None:
    heard = [{"en": 0.6, "de": 0.3, "nl": 0.1}]
    assert settle(heard) == "en"
    assert settle(heard, among=("de", "nl")) == "de"
    with pytest.raises(UnsupportedOption, match="none of fr; it knows de, en, nl") as caught:
        settle(heard, among=("fr",))
    assert caught.value.param == "languages"
