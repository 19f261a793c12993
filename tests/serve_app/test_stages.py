"""What a window's text tells of its stage."""

import pytest

from serve_app.stages import WindowText


@pytest.mark.parametrize(
    ("queue_s", "full", "hungry"),
    [(0.0, True, True), (0.05, True, True), (0.5, True, False), (3.0, True, False), (3.0, False, True)],
)
def test_a_stage_is_hungry_that_was_idle_or_had_room(queue_s: float, full: bool, hungry: bool) -> None:
    text = WindowText("a", "en").run_in(queue_s, 1.0, full=full)
    assert (text.queue_s, text.model_s, text.batch_full) == (queue_s, 1.0, full)
    assert text.hungry == hungry
