"""How soon the messages of a simulated jambonz are acked, and which are not."""

from __future__ import annotations

from array import array

from callstream_core.jambonz.orders import Ack
from callstream_core.jambonz.words import HookQuestion, Question

# Messages of one call that are remembered.
_MAX_KNOWN = 4096
_MAX_TIMES = 100_000
# The call may end at the very moment at which jambonz loses its patience.
_GRACE = 0.05


class AckMeter:
    """Measures the acks of one call."""

    def __init__(self, timeout: float) -> None:
        self.questions = 0
        """Messages that wanted an ack."""
        self.times = array("d")
        """Seconds from each to its ack."""
        self._timeout = timeout
        self._waiting: dict[str, tuple[str, float]] = {}
        self._settled: dict[str, str] = {}
        self._missing: list[str] = []

    def asked(self, question: Question, now: float) -> None:
        """Take note that an ack is wanted."""
        self.questions += 1
        hook = f" {question.hook[:100]}" if isinstance(question, HookQuestion) else ""
        self._waiting[question.msgid] = (question.word + hook, now)
        if len(self._waiting) > _MAX_KNOWN:
            self._miss(next(iter(self._waiting)))

    def heard(self, ack: Ack, now: float) -> str | None:
        """Take an ack; return what is wrong with it."""
        found = self._waiting.get(ack.msgid)
        if found is None:
            known = self._settled.get(ack.msgid)
            if known is None:
                return "an ack for a message that jambonz never sent: quote its msgid"
            return f"{known} was acked twice: jambonz uses the first ack only" if known else None
        name, at = found
        if now - at >= self._timeout:
            self._miss(ack.msgid)
            return None
        self._settle(ack.msgid, name)
        if len(self.times) < _MAX_TIMES:
            self.times.append(now - at)
        return None

    def forget(self) -> None:
        """Take note that the socket is gone: nobody waits for its acks, and they do no harm."""
        for msgid in list(self._waiting):
            self._settle(msgid, "")

    def missing(self, now: float) -> list[str]:
        """Return what was not acked in time, each a sentence."""
        for msgid, (_, at) in list(self._waiting.items()):
            if now - at >= self._timeout - _GRACE:
                self._miss(msgid)
        return self._missing

    def _miss(self, msgid: str) -> None:
        name = self._waiting[msgid][0]
        self._settle(msgid, "")
        if len(self._missing) < _MAX_KNOWN:
            self._missing.append(f"{name} was not acked within {self._timeout:g} s")

    def _settle(self, msgid: str, name: str) -> None:
        del self._waiting[msgid]
        self._settled[msgid] = name
        if len(self._settled) > _MAX_KNOWN:
            del self._settled[next(iter(self._settled))]
