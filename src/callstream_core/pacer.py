"""Which packet is due when: an absolute grid that never drifts."""

from __future__ import annotations

import math

# A part of a slot that floats may be off by: an event that is on time counts as on time.
_ON_TIME = 1e-6
_PUNCTUAL = 1 - _ON_TIME


class Pacer:
    """Times `start + n * ptime`. Late wake-ups take every slot that has passed, and the grid does not move.

    A slot that passed while there was nothing to send is gone: after a silence of one `ptime` or more
    the next packet starts a new grid, so that a pause is never followed by a rush.
    """

    __slots__ = ("_next", "_start", "alone_until", "max_burst_packets", "next_due", "ptime")

    def __init__(self, ptime: float, *, max_burst_packets: int) -> None:
        self.ptime = ptime
        self.max_burst_packets = max_burst_packets
        self.next_due = -math.inf
        """When the next packet may leave."""
        self.alone_until = -math.inf
        """Until when no other slot will be due with it: its packet may leave by `step`."""
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
        self._set_alone(is_resting=False)

    def _set_alone(self, *, is_resting: bool) -> None:
        self.alone_until = -math.inf if is_resting else self.next_due + self.ptime * _PUNCTUAL

    def take(self, now: float, waiting: int) -> int:
        """Return how many of `waiting` packets leave now, and use up their slots.

        At most `max_burst_packets` leave at once; what else is overdue follows one `ptime` later, and so on.
        """
        if now < self.next_due:
            return 0
        due = int((now - self._start) / self.ptime + _ON_TIME) + 1 - self._next
        count = min(max(due, 1), waiting)
        resting = -math.inf
        if count > self.max_burst_packets:
            count = self.max_burst_packets
            resting = now + self.ptime
        self._next += count
        self.next_due = max(self._start + self._next * self.ptime, resting)
        self._set_alone(is_resting=resting == self.next_due)
        return count

    def step(self) -> float:
        """Use up the slot that is due, before `alone_until`; return when the next one is."""
        self._next += 1
        self.next_due = due = self._start + self._next * self.ptime
        self.alone_until = due + self.ptime * _PUNCTUAL
        return due
