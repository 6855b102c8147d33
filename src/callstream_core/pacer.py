"""Which packet is due when: an absolute grid that never drifts."""

from __future__ import annotations

import math

from callstream_core.paced_run import ON_TIME

_PUNCTUAL = 1 - ON_TIME


class Pacer:
    """Times `start + n * ptime`. Late wake-ups take every slot that has passed, and the grid does not move.

    A slot that passed while there was nothing to send is gone: after a silence of one `ptime` or more
    the next packet starts a new grid, so that a pause is never followed by a rush.
    """

    __slots__ = ("_next", "_start", "is_resting", "max_burst_packets", "next_due", "ptime")

    def __init__(self, ptime: float, *, max_burst_packets: int) -> None:
        self.ptime = ptime
        self.max_burst_packets = max_burst_packets
        self.next_due = -math.inf
        """When the next packet may leave."""
        self.is_resting = False
        """True where the next packet waits not for its slot, but for the end of a rest."""
        self._start = -math.inf
        self._next = 0

    def begin(self, now: float) -> None:
        """Start a grid at `now`, unless one is running that the next packet still fits."""
        if (now - self.next_due) / self.ptime > _PUNCTUAL:
            self._restart(now)

    def resume(self, now: float) -> None:
        """Go on after packets were held back: the slots that passed meanwhile are gone."""
        if now > self.next_due:
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._start = self.next_due = now
        self._next = 0
        self.is_resting = False

    def take(self, now: float, waiting: int) -> int:
        """Return how many of `waiting` packets leave now, and use up their slots.

        At most `max_burst_packets` leave at once; what else is overdue follows one `ptime` later, and so on.
        """
        if now < self.next_due:
            return 0
        due = int((now - self._start) / self.ptime + ON_TIME) + 1 - self._next
        count = min(max(due, 1), waiting)
        resting = -math.inf
        if count > self.max_burst_packets:
            count = self.max_burst_packets
            resting = now + self.ptime
        self._next += count
        self.next_due = max(self._start + self._next * self.ptime, resting)
        self.is_resting = resting == self.next_due
        return count

    def skip(self, count: int, next_due: float) -> None:
        """Use up slots whose packets have left already, each in its time; the next is due by the same count."""
        self._next += count
        self.next_due = next_due
