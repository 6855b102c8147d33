"""Questions for the platform's queue level. It answers them in the order in which they were sent."""

from __future__ import annotations

import attrs

from callstream_core.errors import LocalProtocolError
from callstream_core.ledger import Clearing
from callstream_core.limits import Limits
from callstream_core.timers import Timer, TimerTable


@attrs.define
class Inquiry:
    """One question: why it was put, and what had been sent by then."""

    sent: int
    deadline: float
    is_wanted: bool
    """The application itself wants to see the answer."""
    clearing: Clearing | None
    """The clear that was sent right behind the question: the answer tells what it hit."""
    is_given_up: bool = False
    """An estimate has served instead. The answer may still come, and belongs to no later question."""


class Inquiries:
    """Those that are unanswered. Timer `STATUS` is set while an answer is waited for."""

    __slots__ = ("_limits", "_open", "_timers")

    def __init__(self, limits: Limits, timers: TimerTable) -> None:
        self._limits = limits
        self._timers = timers
        self._open: list[Inquiry] = []

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_clearing(self) -> bool:
        """True until the platform has been seen to come to our last clear: what it says still belongs before it."""
        return any(inquiry.clearing is not None and not inquiry.is_given_up for inquiry in self._open)

    def check_room(self) -> None:
        """Raise `LocalProtocolError` where one more would be too many."""
        if len(self._open) >= self._limits.max_inquiries and not self._open[0].is_given_up:
            raise LocalProtocolError(f"{len(self._open)} questions for the queue level are open; wait for an answer")

    def ask(self, sent: int, now: float, *, is_wanted: bool = False, clearing: Clearing | None = None) -> None:
        """Take note of a question."""
        if len(self._open) >= self._limits.max_inquiries:
            self._open.pop(0)
        self._open.append(Inquiry(sent, now + self._limits.status_timeout, is_wanted, clearing))
        self._watch()

    def take(self) -> Inquiry | None:
        """Remove and return the question that the next answer belongs to."""
        inquiry = self._open.pop(0) if self._open else None
        self._watch()
        return inquiry

    def give_up(self, now: float) -> list[Inquiry]:
        """Return the questions that have waited too long by `now`, and wait for them no longer."""
        overdue = [inquiry for inquiry in self._open if not inquiry.is_given_up and inquiry.deadline <= now]
        for inquiry in overdue:
            inquiry.is_given_up = True
        self._watch()
        return overdue

    def _watch(self) -> None:
        deadline = next((inquiry.deadline for inquiry in self._open if not inquiry.is_given_up), None)
        if deadline is None:
            self._timers.cancel(Timer.STATUS)
        else:
            self._timers.set(Timer.STATUS, deadline)
