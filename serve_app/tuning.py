"""When a replica measures its batch size: not while a whole machine starts, but once it has had nothing to do."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve_app.models.calibration import Calibration

QUIET_S = 30.0
"""Without work for so long, a replica measures."""
QUIET_LOAD = 0.5
"""Of the cores: more than so many at work, on average over a minute, are others' work that would be measured too."""
TRIES = 5
"""Measurements that requests came into; then the batch size stays as it is until the next start."""
logger = logging.getLogger("ray.serve.rayscribe")


def machine_is_quiet() -> bool:
    """Whether most cores have had nothing to do for a minute; true where nobody knows."""
    try:
        return os.getloadavg()[0] < QUIET_LOAD * (os.cpu_count() or 1)
    except OSError:
        return True


class Tuner:
    """Measures in a thread of its own, and tells `apply` the batch size.

    A measurement that a request came into is thrown away and made again; the request was slower for it, once.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        apply: Callable[[int], None],
        quiet_s: float = QUIET_S,
        quiet: Callable[[], bool] = machine_is_quiet,
    ) -> None:
        self._apply, self._quiet_s, self._quiet = apply, quiet_s, quiet
        self._at_work = self._begun = 0
        self._changed = threading.Condition()
        if calibration:
            threading.Thread(target=self._tune, args=(calibration,), name="tuner", daemon=True).start()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Say that the model has work."""
        with self._changed:
            self._at_work += 1
            self._begun += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify()

    def _tune(self, calibration: Calibration) -> None:
        try:
            for _ in range(TRIES):
                before = self._until_quiet()
                tuning = calibration.measure()
                if self._begun == before:
                    self._apply(tuning.batch_size)
                    calibration.keep(tuning)
                    return
        except Exception:
            logger.exception("the batch size could not be measured; it stays %d", calibration.unmeasured)

    def _until_quiet(self) -> int:
        """Return the number of requests so far, once the last one has been done for a while, and others' work too."""
        with self._changed:
            since = time.monotonic()
            while (left := since + self._quiet_s - time.monotonic()) > 0 or not self._quiet():
                if self._changed.wait(max(left, self._quiet_s / 2)) or self._at_work:
                    self._changed.wait_for(lambda: not self._at_work)
                    since = time.monotonic()
            return self._begun
