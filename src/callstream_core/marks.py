"""Questions put to the platform behind a piece of audio: marks, ends of buffering, reports of drained playout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from callstream_core.commands import Command, PlaceMark, ReportDrained, StopBuffering
from callstream_core.events import BufferingCompleted, Event, MarkOutcome, MarkReached, PlayoutDrained
from callstream_core.ledger import Ledger
from callstream_core.outputs import Output
from callstream_core.timers import Timer, TimerTable


@attrs.define(eq=False)
class Ordered:
    """A command that takes effect behind the audio before it."""

    command: Command
    messages: Sequence[str | bytes]
    is_native: bool = True
    """The platform itself answers; else the ledger's estimate does."""
    is_ours: bool = False
    """Placed by the session itself, not by the application: its answer is not an event."""
    position: int = 0
    """Where in the stream it was sent."""
    asked_at: float = -math.inf

    @property
    def wants_answer(self) -> bool:
        """Whether this is a question at all."""
        return isinstance(self.command, PlaceMark | StopBuffering | ReportDrained)

    @property
    def is_report(self) -> bool:
        """Whether it asks for an empty queue, and not for a place in the stream."""
        return isinstance(self.command, ReportDrained)

    @property
    def name(self) -> str:
        """The mark's name."""
        return self.command.name if isinstance(self.command, PlaceMark | StopBuffering) else ""

    def emulate(self, position: int = 0) -> None:
        """Expect no answer from the platform any more, and take it for asked behind `position`."""
        self.messages, self.is_native, self.position = (), False, position

    def answer(self, outcome: MarkOutcome, *, is_estimated: bool) -> Event:
        """Return the event that answers it."""
        if self.is_report:
            return PlayoutDrained(is_estimated)
        if isinstance(self.command, StopBuffering) and outcome is MarkOutcome.PLAYED and not is_estimated:
            return BufferingCompleted(self.name)
        return MarkReached(self.name, outcome, is_estimated)


# Names of marks that we answered ourselves, kept to know the platform's late answers by.
_MAX_ANSWERED = 64


class Questions:
    """The questions that are open. Each leaves exactly once; marks leave in the order of their positions.

    `slack` is how many seconds past the estimated playout the platform may take to answer, `tick` how many pass
    before an estimate serves where it never answers. Timer `MARKS` is set while an answer is waited for.
    """

    __slots__ = ("_answered", "_marks", "_owed", "_reports", "_slack", "_tick", "_timers", "is_finished")

    def __init__(self, *, slack: float, tick: float, timers: TimerTable) -> None:
        self._slack = slack
        self._tick = tick
        self._timers = timers
        # Lists, not deques: an empty deque weighs as much as the rest of an idle call's reply stream together.
        self._marks: list[Ordered] = []
        self._reports: list[Ordered] = []
        # Platforms may answer a mark that we have answered already; the names we can tell such by.
        self._answered: list[str] = []
        # Names of marks that we answered for the platform, which will answer them yet.
        self._owed: list[str] = []
        self.is_finished = False
        """True once the session's own question is answered."""

    def __len__(self) -> int:
        return len(self._marks) + len(self._reports)

    def ask(self, question: Ordered, ledger: Ledger, now: float) -> None:
        """Take note of a question that was sent behind all that the ledger has seen sent."""
        question.position = ledger.sent
        question.asked_at = now
        (self._reports if question.is_report else self._marks).append(question)
        self.watch(ledger)

    def reached(self, event: MarkReached | BufferingCompleted, out: list[Output]) -> int | None:
        """Answer the oldest mark of this name, and first all those before it: they were passed.

        Return the mark's position, or None where nobody asked.
        """
        kind = PlaceMark if isinstance(event, MarkReached) else StopBuffering
        for index, mark in enumerate(self._marks):
            if mark.is_native and isinstance(mark.command, kind) and mark.name == event.name:
                for _ in range(index):
                    self._conclude(self._marks.pop(0), out, is_estimated=True)
                outcome = event.outcome if isinstance(event, MarkReached) else MarkOutcome.PLAYED
                self._conclude(self._marks.pop(0), out, outcome)
                return mark.position
        return None

    def is_late(self, event: MarkReached | BufferingCompleted) -> bool:
        """Tell whether an answer comes after we gave our own."""
        return event.name in self._answered

    def drained(self, position: int, out: list[Output]) -> int | None:
        """Answer the reports: the platform has nothing left to play, and our estimate has come to `position`.

        One word answers all who asked before it was said. One who asked behind audio that cannot have been played
        yet asked later, but for the first: somebody must have asked. Our own never takes another's answer for its
        own: a goodbye would be cut. Return how far playout has come, where that shows.
        """
        if self._reports and not self._reports[0].is_ours:
            position = max(position, self._reports[0].position)
        reports = [report for report in self._reports if report.position <= position]
        self._reports = [report for report in self._reports if report.position > position]
        if any(report.is_ours for report in reports):
            self.is_finished = True
        # Unasked, it is news all the same.
        if not reports or not all(report.is_ours for report in reports):
            out.append(PlayoutDrained())
        return reports[-1].position if reports else None

    def settle_owed(self, event: MarkReached | BufferingCompleted) -> bool:
        """Tell whether this is an answer that the platform still owed us after a clear; it is settled then."""
        if event.name not in self._owed:
            return False
        del self._owed[: self._owed.index(event.name) + 1]
        return True

    def clear_marks(self, waiting: Iterable[Ordered], out: list[Output], *, owes_answers: bool) -> None:
        """Answer all marks as cleared, and those `waiting` to be sent. The platform may owe answers to the others."""
        if owes_answers:
            self._owed += [mark.name for mark in self._marks if mark.is_native]
            del self._owed[:-_MAX_ANSWERED]
        while self._marks:
            self._conclude(self._marks.pop(0), out, MarkOutcome.CLEARED)
        for question in waiting:
            self._conclude(question, out, MarkOutcome.CLEARED)

    def clear(
        self,
        waiting: Iterable[Ordered],
        ledger: Ledger,
        now: float,
        out: list[Output],
        *,
        owes_answers: bool = False,
    ) -> list[Ordered]:
        """Answer all marks as cleared, those that were `waiting` to be sent too; return the reports among these.

        A report that was sent survives a clear: the platform owes it still, and gives it with its next tick.
        """
        waiting = list(waiting)
        marks = (question for question in waiting if question.wants_answer and not question.is_report)
        self.clear_marks(marks, out, owes_answers=owes_answers)
        reports, self._reports = self._reports, []
        for report in reports:
            self.ask(report, ledger, now)
        return [question for question in waiting if question.is_report]

    def answer_overdue(self, ledger: Ledger, now: float, out: list[Output]) -> int:
        """Answer by estimate what the platform will not answer; return how many it owed us."""
        overdue: list[Ordered] = []
        while self._marks and self._deadline(self._marks[0], ledger) <= now:
            overdue.append(self._marks.pop(0))
        # All reports wait for the same.
        overdue += [report for report in self._reports if self._deadline(report, ledger) <= now]
        self._reports = [report for report in self._reports if self._deadline(report, ledger) > now]
        for question in overdue:
            self._conclude(question, out, is_estimated=True)
        self.watch(ledger)
        return sum(question.is_native for question in overdue)

    def _conclude(
        self,
        question: Ordered,
        out: list[Output],
        outcome: MarkOutcome = MarkOutcome.PLAYED,
        *,
        is_estimated: bool = False,
    ) -> None:
        if question.is_ours:
            self.is_finished = True
            return
        if is_estimated or outcome is MarkOutcome.CLEARED:
            self._answered.append(question.name)
            del self._answered[:-_MAX_ANSWERED]
        out.append(question.answer(outcome, is_estimated=is_estimated or not question.is_native))

    def emulate(self, position: int) -> None:
        """Expect no answers from the platform any more, and take all questions for asked behind `position`."""
        for question in (*self._marks, *self._reports):
            question.emulate(position)

    def bound(self, position: int) -> int:
        """Return `position`, but no further than the first mark that the platform has not answered."""
        if self._marks and self._marks[0].is_native:
            return min(position, self._marks[0].position)
        return position

    def watch(self, ledger: Ledger) -> None:
        """Set the timer anew: playout was stopped, started or corrected."""
        # Marks further back are never due before the first.
        first = ([self._marks[0]] if self._marks else []) + self._reports
        deadline = min((self._deadline(question, ledger) for question in first), default=math.inf)
        if deadline < math.inf:
            self._timers.set(Timer.MARKS, deadline)
        else:
            self._timers.cancel(Timer.MARKS)

    def _deadline(self, question: Ordered, ledger: Ledger) -> float:
        # A report waits for whatever is sent after it, too.
        heard_at = ledger.time_of(ledger.sent if question.is_report else question.position)
        if heard_at is None:
            return math.inf
        # Without the platform's word: what we sent last may wait for one tick before it plays.
        return max(heard_at, question.asked_at) + (self._slack if question.is_native else self._tick)
