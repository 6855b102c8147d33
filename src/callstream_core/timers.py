"""Named deadlines. A session sets them; its owner only asks for the earliest."""

from __future__ import annotations

import enum
import math


class Timer(enum.Enum):
    """What a session may be waiting for. Of two that are due at one moment, the one that comes first here is first."""

    PUMP = "room for more audio, or the next packet's turn"
    OPENING = "the platform's opening message"
    MARKS = "the latest moment to answer the oldest mark"
    STATUS = "the answer to a question for the queue level"
    SYNC = "the next question for the queue level"
    TICK = "the platform's playout clock"
    DECISION = "the application's answer to the call"
    HEARTBEAT = "the next moment to show that we are there"
    SILENCE = "a sign of life from the application"
    DURATION = "the longest time that the platform keeps a call"
    CLOSING = "the platform's close after we hung up"

    # By identity: there is one of each. Enum's own hash is a call of Python's.
    __hash__ = object.__hash__


NEVER = math.inf

_MANY = 1 << 30
_RANK = {timer: rank for rank, timer in enumerate(Timer)}


class TimerTable:
    """Absolute deadlines by name; `earliest` is kept ready because it is asked for far more often than it changes.

    `PUMP` has a place of its own: it moves with every packet, and the others stay.
    """

    __slots__ = ("_others", "_soonest_other", "earliest", "pump")

    def __init__(self) -> None:
        self._others: dict[Timer, float] = {}
        self._soonest_other = NEVER
        self.pump = NEVER
        """The deadline of `PUMP`."""
        self.earliest: float | None = None

    def set(self, timer: Timer, deadline: float) -> None:
        """Set or move a deadline."""
        if timer is Timer.PUMP:
            self.pump = deadline
        else:
            self._others[timer] = deadline
        self._look()

    def cancel(self, timer: Timer) -> None:
        """Forget a deadline; one that is not set is no matter."""
        if timer is Timer.PUMP:
            self.pump = NEVER
        else:
            self._others.pop(timer, None)
        self._look()

    def clear(self) -> None:
        """Forget all deadlines."""
        self._others.clear()
        self.pump = NEVER
        self._look()

    def is_set(self, timer: Timer) -> bool:
        """Tell whether this deadline is set."""
        return self.pump < NEVER if timer is Timer.PUMP else timer in self._others

    def before_others(self, start: float, interval: float) -> int:
        """Return how many intervals from `start` on end before anything but `PUMP` is due."""
        return int(min((self._soonest_other - start) / interval, _MANY))

    def take_due(self, now: float) -> list[Timer]:
        """Remove and return the timers that are due, earliest first."""
        if self.earliest is None or self.earliest > now:
            return []
        others = self._others
        due = [(deadline, _RANK[timer], timer) for timer, deadline in others.items() if deadline <= now]
        for _, _, timer in due:
            del others[timer]
        if self.pump <= now:
            due.append((self.pump, _RANK[Timer.PUMP], Timer.PUMP))
            self.pump = NEVER
        self._look()
        due.sort()
        return [timer for _, _, timer in due]

    def _look(self) -> None:
        self._soonest_other = soonest = min(self._others.values(), default=NEVER)
        earliest = min(soonest, self.pump)
        self.earliest = earliest if earliest < NEVER else None
