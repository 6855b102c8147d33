"""Which messages still want their ack, and until when."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz.limits import ControlLimits
from callstream_core.jambonz.words import AckReason, Question


@attrs.frozen
class Debt:
    """One message that wants an ack."""

    question: Question
    deadline: float


class Debts:
    """The acks that are owed, oldest first. Each is settled once."""

    __slots__ = ("_max_settled", "_owed", "_settled", "size")

    def __init__(self, max_settled: int) -> None:
        self.size = 0
        """Characters of the messages that wait."""
        self._owed: dict[str, Debt] = {}
        self._settled: dict[str, AckReason | None] = {}
        self._max_settled = max_settled

    def __iter__(self) -> Iterator[Debt]:
        return iter(list(self._owed.values()))

    @property
    def earliest(self) -> float | None:
        """The first deadline."""
        return min((debt.deadline for debt in self._owed.values()), default=None)

    def is_known(self, msgid: str) -> bool:
        """Tell whether a message of this id wants an ack, or had it."""
        return msgid in self._owed or msgid in self._settled

    def is_crowded(self, question: Question, limits: ControlLimits) -> bool:
        """Tell whether something has to be settled before there is room for one more."""
        is_large = self.size + question.size > limits.max_owed_text
        return bool(self._owed) and (is_large or len(self._owed) >= limits.max_debts)

    def owe(self, question: Question, deadline: float) -> None:
        """Take on a debt."""
        self._owed[question.msgid] = Debt(question, deadline)
        self.size += question.size

    def find(self, msgid: str) -> Debt:
        """Return a debt. Raise `LocalProtocolError` where nothing is owed."""
        debt = self._owed.get(msgid) if isinstance(msgid, str) else None
        if debt is None:
            why = "there is none that wants it"
            if isinstance(msgid, str) and msgid in self._settled:
                reason = self._settled[msgid]
                why = "it was acked before" if reason is None else f"the session has acked it: {reason.value}"
            raise LocalProtocolError(f"message {msgid!r} cannot be acked: {why}")
        return debt

    def settle(self, msgid: str, reason: AckReason | None = None) -> None:
        """Note that a message was acked, by whom its `reason` tells: none means the application."""
        debt = self._owed.pop(msgid, None)
        if debt is not None:
            self.size -= debt.question.size
        self._settled[msgid] = reason
        if len(self._settled) > self._max_settled:
            del self._settled[next(iter(self._settled))]

    def due(self, now: float) -> list[Debt]:
        """Return the debts whose deadline has come."""
        return [debt for debt in self._owed.values() if debt.deadline <= now]

    def clear(self) -> None:
        """Forget all."""
        self._owed.clear()
        self.size = 0
