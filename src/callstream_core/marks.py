"""Questions put to the platform behind a piece of audio: marks, ends of buffering, reports of drained playout."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

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

    @property
    def wants_answer(self) -> bool:
        """Whether this is a question at all."""
        return isinstance(self.command, PlaceMark | StopBuffering | ReportDrained)

    @property
    def name(self) -> str:
        """The mark's name."""
        return self.command.name if isinstance(self.command, PlaceMark | StopBuffering) else ""

    def answer(self, outcome: MarkOutcome, *, is_estimated: bool) -> Event:
        """Return the event that answers it."""
        if isinstance(self.command, ReportDrained):
            return PlayoutDrained(is_estimated)
        if isinstance(self.command, StopBuffering) and outcome is MarkOutcome.PLAYED:
            return BufferingCompleted(self.name)
        return MarkReached(self.name, outcome, is_estimated)


class Questions:
    """The questions that are open, in the order of their positions. Each leaves exactly once."""

    __slots__ = ("_cleared_names", "_open")

    def __init__(self) -> None:
        self._open: deque[Ordered] = deque()
        # Platforms may answer a mark that a clear has answered already; how many names we can tell such by.
        self._cleared_names: deque[str] = deque(maxlen=64)

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, question: Ordered, position: int) -> None:
        """Take note of a question that was sent behind `position`."""
        question.position = position
        self._open.append(question)

    def take_named(self, event: MarkReached | BufferingCompleted) -> Ordered | None:
        """Remove and return the oldest question that this event answers."""
        kind = PlaceMark if isinstance(event, MarkReached) else StopBuffering
        for question in self._open:
            if question.is_native and isinstance(question.command, kind) and question.name == event.name:
                self._open.remove(question)
                return question
        return None

    def is_late(self, event: MarkReached | BufferingCompleted) -> bool:
        """Tell whether an answer comes after we gave our own."""
        return event.name in self._cleared_names

    def answered(self, question: Ordered) -> None:
        """Remember that we answered it without the platform."""
        self._cleared_names.append(question.name)

    def take(self, is_wanted: Callable[[Ordered], bool]) -> list[Ordered]:
        """Remove and return the questions that `is_wanted`."""
        taken = [question for question in self._open if is_wanted(question)]
        if taken:
            self._open = deque(question for question in self._open if question not in taken)
        return taken

    def emulate(self) -> None:
        """Expect no answers from the platform any more."""
        for question in self._open:
            question.is_native = False
            question.position = 0

    def bound(self, position: int) -> int:
        """Return `position`, but no further than the first mark that the platform has not answered."""
        return min((q.position for q in self._open if q.is_native and q.position < position), default=position)

    def deadline(self, question: Ordered, ledger: Ledger, *, slack: float, tick: float) -> float:
        """Return when to answer a question ourselves."""
        heard_at = ledger.time_of(question.position)
        if heard_at is None:
            return math.inf
        # Without the platform's word: what we sent last may wait for one tick before it plays.
        return heard_at + (slack if question.is_native else tick)

    def earliest(self, ledger: Ledger, *, slack: float, tick: float) -> float:
        """Return the earliest deadline, or infinity."""
        return min((self.deadline(q, ledger, slack=slack, tick=tick) for q in self._open), default=math.inf)
