"""What is due when, for all calls together."""

from __future__ import annotations

import heapq
from typing import Protocol

NEVER = float("inf")

# Seconds. What is due within one slot is taken together, at its end: so much later at most, and never too early.
_SLOT = 0.0001
# Deadlines that no longer hold stay until there are twice as many as of those that do, and this.
_MIN_SIZE = 256


class Timed(Protocol):
    """What the hub calls at a deadline. Methods never block, and never wait."""

    scheduled: float | None
    """The deadline that the hub keeps for it."""

    def handle_deadline(self, now: float) -> None:
        """Do what is due."""
        ...

    def abandon(self, error: Exception) -> None:
        """Give up: something inside failed. Must not raise."""
        ...


class Deadlines:
    """A list for each slot of time in which something is due, and a heap of the slots.

    A thousand paced calls share some two hundred slots, so that an entry costs an append where a heap of its own would
    be searched. An entry does not hold any more once `scheduled` tells another time.
    """

    __slots__ = ("_max_size", "_order", "_size", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, list[Timed]] = {}
        self._order: list[int] = []
        self._size = 0
        self._max_size = _MIN_SIZE

    def __len__(self) -> int:
        return self._size

    @property
    def earliest(self) -> float:
        """When to look here next; nothing need be due then."""
        return self._order[0] * _SLOT if self._order else NEVER

    def add(self, timed: Timed, deadline: float) -> None:
        """Keep a deadline, in place of a later one that was kept before."""
        timed.scheduled = deadline
        slot = int(deadline / _SLOT) + 1
        entries = self._slots.get(slot)
        if entries is None:
            self._slots[slot] = [timed]
            heapq.heappush(self._order, slot)
        else:
            entries.append(timed)
        self._size += 1
        if self._size > self._max_size:
            self._compact()

    def take(self, now: float) -> list[Timed]:
        """Remove and return what is due. Whoever comes twice, or whose `scheduled` is another, is not."""
        due: list[Timed] = []
        order = self._order
        while order and order[0] * _SLOT <= now:
            due += self._slots.pop(heapq.heappop(order))
        self._size -= len(due)
        return due

    def _compact(self) -> None:
        """Forget what no longer holds, and with it what had it: calls that are long over."""
        kept = {entry for entries in self._slots.values() for entry in entries if entry.scheduled is not None}
        self._slots.clear()
        self._order.clear()
        self._size = 0
        self._max_size = 2 * len(kept) + _MIN_SIZE
        for entry in kept:
            if entry.scheduled is not None:
                self.add(entry, entry.scheduled)
