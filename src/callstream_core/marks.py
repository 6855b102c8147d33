"""Questions put to the platform behind a piece of audio: marks, ends of buffering, reports of drained playout."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import attrs

from callstream_core.commands import Command, PlaceMark, ReportDrained, StopBuffering
from callstream_core.events import BufferingCompleted, Event, MarkOutcome, MarkReached, PlayoutDrained
from callstream_core.ledger import Ledger


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

    def emulate(self) -> None:
        """Expect no answer from the platform any more."""
        self.messages, self.is_native, self.position = (), False, 0

    def answer(self, outcome: MarkOutcome, *, is_estimated: bool) -> Event:
        """Return the event that answers it."""
        if self.is_report:
            return PlayoutDrained(is_estimated)
        if isinstance(self.command, StopBuffering) and outcome is MarkOutcome.PLAYED and not is_estimated:
            return BufferingCompleted(self.name)
        return MarkReached(self.name, outcome, is_estimated)


class Questions:
    """The questions that are open. Each leaves exactly once; marks leave in the order of their positions.

    `slack` is how many seconds past the estimated playout the platform may take to answer, `tick` how many pass
    before an estimate serves where it never answers.
    """

    __slots__ = ("_answered", "_marks", "_reports", "slack", "tick")

    def __init__(self, *, slack: float, tick: float) -> None:
        self.slack = slack
        self.tick = tick
        self._marks: deque[Ordered] = deque()
        self._reports: list[Ordered] = []
        # Platforms may answer a mark that we have answered already; how many names we can tell such by.
        self._answered: deque[str] = deque(maxlen=64)

    def __len__(self) -> int:
        return len(self._marks) + len(self._reports)

    def ask(self, question: Ordered, position: int, now: float) -> None:
        """Take note of a question that was sent behind `position`."""
        question.position = position
        question.asked_at = now
        (self._reports if question.is_report else self._marks).append(question)

    def take_named(self, event: MarkReached | BufferingCompleted) -> list[Ordered]:
        """Remove and return the oldest mark that this event answers, behind all those before it: they were passed."""
        kind = PlaceMark if isinstance(event, MarkReached) else StopBuffering
        for index, mark in enumerate(self._marks):
            if mark.is_native and isinstance(mark.command, kind) and mark.name == event.name:
                return [self._marks.popleft() for _ in range(index + 1)]
        return []

    def take_marks(self) -> list[Ordered]:
        """Remove and return all marks."""
        marks = list(self._marks)
        self._marks.clear()
        return marks

    def take_reports(self, position: int) -> list[Ordered]:
        """Remove and return the reports that an empty queue answers, when playout has come to `position`.

        One word answers all who asked before it. One who asked behind audio that cannot have been played yet
        was not heard when it was said; only the first must have been.
        """
        reports = self._reports
        if reports:
            position = max(position, reports[0].position)
            self._reports = [report for report in reports if report.position > position]
        return [report for report in reports if report.position <= position]

    def take_overdue(self, ledger: Ledger, now: float) -> list[Ordered]:
        """Remove and return the questions that we must answer ourselves."""
        taken: list[Ordered] = []
        while self._marks and self._deadline(self._marks[0], ledger) <= now:
            taken.append(self._marks.popleft())
        taken += [report for report in self._reports if self._deadline(report, ledger) <= now]
        self._reports = [report for report in self._reports if report not in taken]
        return taken

    def earliest(self, ledger: Ledger) -> float:
        """Return when the first question is overdue, or infinity."""
        questions = (*self._first_mark, *self._reports)
        return min((self._deadline(question, ledger) for question in questions), default=math.inf)

    @property
    def _first_mark(self) -> Sequence[Ordered]:
        # Marks further back are never due before it.
        return [self._marks[0]] if self._marks else ()

    def _deadline(self, question: Ordered, ledger: Ledger) -> float:
        # A report waits for whatever is sent after it, too.
        heard_at = ledger.time_of(ledger.sent if question.is_report else question.position)
        if heard_at is None:
            return math.inf
        # Without the platform's word: what we sent last may wait for one tick before it plays.
        return max(heard_at, question.asked_at) + (self.slack if question.is_native else self.tick)

    def answered(self, question: Ordered) -> None:
        """Remember that we answered it without the platform."""
        self._answered.append(question.name)

    def is_late(self, event: MarkReached | BufferingCompleted) -> bool:
        """Tell whether an answer comes after we gave our own."""
        return event.name in self._answered

    def emulate(self) -> None:
        """Expect no answers from the platform any more."""
        for question in (*self._marks, *self._reports):
            question.emulate()

    def bound(self, position: int) -> int:
        """Return `position`, but no further than the first mark that the platform has not answered."""
        return min([position, *(mark.position for mark in self._first_mark if mark.is_native)])
