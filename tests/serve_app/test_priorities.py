import os
import sys
import threading
from collections.abc import Generator

import pytest

from serve_app.flow import LONG, in_thread
from serve_app.priorities import BACKGROUND, MODELS, background, step_back, stepped_back, threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_what_loads_a_model_steps_back_with_all_that_it_starts_and_nobody_else_does() -> None:
    started: list[int] = []

    def load() -> int:
        child = threading.Thread(target=lambda: started.append(niceness()))
        child.start()
        child.join()
        return niceness()

    before = niceness()
    assert stepped_back(load) == min(19, before + MODELS)
    assert started == [min(19, before + MODELS)]
    assert niceness() == before


def test_what_goes_wrong_while_loading_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        stepped_back(lambda: 1 // 0)


def test_who_steps_back_twice_is_further_back() -> None:
    with threads(1, "twice", 2) as executor:
        executor.submit(step_back, 3).result()
        assert executor.submit(niceness).result() == min(19, niceness() + 5)


def test_long_files_share_their_threads_and_do_not_wait_for_each_other() -> None:
    assert background() is background()
    both = threading.Barrier(2)
    assert {each.result() for each in [background().submit(both.wait, 10) for _ in range(2)]} == {0, 1}


async def test_a_long_file_is_heard_in_the_background_and_a_short_one_is_not() -> None:
    def heard() -> Generator[int]:
        for _ in range(LONG + 3):
            yield niceness()

    here = background().submit(niceness).result()
    found = [each async for each in in_thread(heard())]
    assert found == [niceness()] * LONG + [here] * 3
    assert here == min(19, niceness() + BACKGROUND)
