"""Which packet is due when: an absolute grid that never drifts."""

from __future__ import annotations

import math

# A part of a slot that floats may be off by: an event that is on time counts as on time.
_ON_TIME = 1e-6


class Pacer:
    """Times `start + n * ptime`. Late wake-ups take every slot that has passed, and the grid does not move.

    A slot that passed while there was nothing to send is gone: after a silence of one `ptime` or more
    the next packet starts a new grid, so that a pause is never followed by a rush.
    """

    __slots__ = ("_next", "_resting", "_start", "max_burst_packets", "ptime")

    def __init__(self, ptime: float, *, max_burst_packets: int) -> None:
        self.ptime = ptime
        self.max_burst_packets = max_burst_packets
        self._start = -math.inf
        self._next = 0
        self._resting = -math.inf

    @property
    def next_due(self) -> float:
        """When the next packet may leave."""
        return max(self._start + self._next * self.ptime, self._resting)

    def begin(self, now: float) -> None:
        """Start a grid at `now`, unless one is running that the next packet still fits."""
        if (now - self.next_due) / self.ptime > 1 - _ON_TIME:
            self._restart(now)

    def resume(self, now: float) -> None:
        """Go on after packets were held back: the slots that passed meanwhile are gone."""
        if now > self.next_due:
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._start = now
        self._next = 0
        self._resting = -math.inf

    def take(self, now: float, waiting: int) -> int:
        """Return how many of `waiting` packets leave now, and use up their slots.

        At most `max_burst_packets` leave at once; what else is overdue follows one `ptime` later, and so on.
        """
        if now < self.next_due:
            return 0
        due = int((now - self._start) / self.ptime + _ON_TIME) + 1 - self._next
        count = min(max(due, 1), waiting)
        if count > self.max_burst_packets:
            count = self.max_burst_packets
            self._resting = now + self.ptime
        self._next += count
        return count
