"""Named deadlines. A session sets them; its owner only asks for the earliest."""

from __future__ import annotations

import enum


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

    # By identity: there is one of each, and a packet asks for several: Enum's own hash is a call of Python's.
    __hash__ = object.__hash__


_RANK = {timer: rank for rank, timer in enumerate(Timer)}


class TimerTable:
    """Absolute deadlines by name; `earliest` is kept ready because it is asked for far more often than it changes."""

    __slots__ = ("_deadlines", "earliest")

    def __init__(self) -> None:
        self._deadlines: dict[Timer, float] = {}
        self.earliest: float | None = None

    def set(self, timer: Timer, deadline: float) -> None:
        """Set or move a deadline."""
        deadlines = self._deadlines
        deadlines[timer] = deadline
        if self.earliest is None or deadline <= self.earliest:
            self.earliest = deadline
        else:
            self.earliest = min(deadlines.values())

    def cancel(self, timer: Timer) -> None:
        """Forget a deadline; one that is not set is no matter."""
        if self._deadlines.pop(timer, None) is not None:
            self.earliest = min(self._deadlines.values(), default=None)

    def clear(self) -> None:
        """Forget all deadlines."""
        self._deadlines.clear()
        self.earliest = None

    def is_set(self, timer: Timer) -> bool:
        """Tell whether this deadline is set."""
        return timer in self._deadlines

    def is_next(self, timer: Timer, now: float) -> bool:
        """Tell whether this deadline is due, and none is earlier."""
        earliest = self.earliest
        return earliest is not None and earliest <= now and self._deadlines.get(timer) == earliest

    def take_due(self, now: float) -> list[Timer]:
        """Remove and return the timers that are due, earliest first."""
        if self.earliest is None or self.earliest > now:
            return []
        deadlines = self._deadlines
        due = [timer for timer, deadline in deadlines.items() if deadline <= now]
        if len(due) > 1:
            due.sort(key=lambda timer: (deadlines[timer], _RANK[timer]))
        for timer in due:
            del deadlines[timer]
        self.earliest = min(deadlines.values()) if deadlines else None
        return due
