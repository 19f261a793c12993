"""Patience: how long a fetch waits for a store that hangs or fails, and how it asks again."""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from model_store.errors import FetchTimeout, ModelStoreError, StoreUnreachable

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
T = TypeVar("T")


class Patience:
    """One limit for a whole fetch: `timeout_s` in all if that is given, else `stall_s` without progress."""

    def __init__(self, what: str, timeout_s: float | None, stall_s: float) -> None:
        self.what, self.timeout_s, self.stall_s = what, timeout_s, stall_s
        self.trouble: StoreUnreachable | None = None
        self._began = self._moved = time.monotonic()

    def progress(self) -> None:
        """Something came: the trouble is over."""
        self._moved, self.trouble = time.monotonic(), None

    def left_s(self) -> float:
        """Seconds until it is time to give up; negative after it."""
        if self.timeout_s is not None:
            return self._began + self.timeout_s - time.monotonic()
        return self._moved + self.stall_s - time.monotonic()

    def check(self) -> None:
        """Raise what `give_up` gives once the time is over."""
        if self.left_s() <= 0:
            raise self.give_up()

    def give_up(self) -> ModelStoreError:
        """The error to raise when the time is over; names what the store said last."""
        after = f"{self.timeout_s} s" if self.timeout_s is not None else f"{self.stall_s} s without progress"
        last = f" Its store said last: {self.trouble.problem}" if self.trouble else ""
        if self.trouble and self.timeout_s is None:
            return StoreUnreachable(
                f"{self.what} was given up after {after}.{last}", self.trouble.mend, **self.trouble.details
            )
        return FetchTimeout(
            f"{self.what} ran out of time after {after}.{last}",
            "Fetch again: what has come is kept; see that the store answers, or allow more time.",
        )

    def ask(self, question: Callable[[], T], *, again: bool) -> T:
        """A store's answer to a small question, asked `again` while it is unreachable; never waits past the limit."""
        pauses = backoff()
        while True:
            self.check()
            try:
                return self._answer(question)
            except StoreUnreachable as error:
                if not again:
                    raise
                self.trouble = error
                time.sleep(max(0.0, min(next(pauses), self.left_s())))

    def _answer(self, question: Callable[[], T]) -> T:
        # A thread that hangs in the kernel cannot be ended, only left behind.
        answers: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
        threading.Thread(target=_put_answer, args=(question, answers), daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, self.left_s()))
        except queue.Empty:
            raise self.give_up() from None
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _put_answer(question: Callable[[], T], answers: "queue.SimpleQueue[T | BaseException]") -> None:
    try:
        answers.put(question())
    except BaseException as error:  # noqa: BLE001 raised again by the thread that waits
        answers.put(error)


def backoff() -> Iterator[float]:
    """Seconds to wait before each further try: longer and longer, and each process differently."""
    longest = FIRST_PAUSE_S
    while True:
        yield random.uniform(longest / 2, longest)
        longest = min(2 * longest, LONGEST_PAUSE_S)
