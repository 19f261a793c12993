"""What a long request owes to the short ones beside it in a model: its next batch waits for them, and is small."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

LONG_TURNS = 3
"""Batches after which an owner is a long request."""
GENTLE_S = 5.0
"""For so long after a short request another is expected."""
GENTLE = 4
"""What the size of a batch is divided by then: who comes finds the end of a batch sooner."""
REMEMBERED = 4096
"""Owners whose batches are counted."""


class Courtesy:
    """Knows who is long, and which batches of short requests run; batches are any objects."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._turns: OrderedDict[Hashable, int] = OrderedDict()
        self._short: set[object] = set()
        self._waited_for: set[object] | None = None
        self._seen_at, self._seen = float("-inf"), set[Hashable]()
        """When the last short requests went, and which; a long one was short itself at first."""

    def is_long(self, owner: Hashable) -> bool:
        """Whether an owner has had several batches; None is nobody."""
        return owner is not None and self._turns.get(owner, 0) >= LONG_TURNS

    def most(self, owner: Hashable, size: int) -> int:
        """Return how large a batch may be that begins with an item of this owner."""
        gentle = self.is_long(owner) and self._now() - self._seen_at < GENTLE_S and self._seen != {owner}
        return max(1, size // GENTLE) if gentle else size

    def gives_way(self, owner: Hashable) -> bool:
        """Whether an owner waits for the short requests that run: those that it finds, no later ones."""
        if not self.is_long(owner):
            return False
        if self._waited_for is None:
            self._waited_for = set(self._short)
        return bool(self._waited_for)

    def began(self, batch: object, owners: Sequence[Hashable]) -> None:
        """Count a batch that starts."""
        if any(self.is_long(owner) for owner in owners):
            self._waited_for = None
        else:
            self._short.add(batch)
            self._seen_at, self._seen = self._now(), set(owners)
        for owner in set(owners):
            self._turns[owner] = self._turns.pop(owner, 0) + 1
        while len(self._turns) > REMEMBERED:
            self._turns.popitem(last=False)

    def ended(self, batch: object) -> None:
        """Forget a batch."""
        self._short.discard(batch)
        if self._waited_for:
            self._waited_for.discard(batch)
