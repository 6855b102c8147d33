"""The reply stream of one call: what the application plays, from acceptance to the caller's ear."""

from __future__ import annotations

import math
from collections import deque

from callstream_core.audio import AudioFormat
from callstream_core.commands import ReportDrained
from callstream_core.dialect import Capabilities, Clock
from callstream_core.errors import LocalProtocolError, PendingAudioFull
from callstream_core.events import (
    BufferingCompleted,
    FlowPaused,
    FlowResumed,
    MarkOutcome,
    MarkReached,
    PlayoutCleared,
    PlayoutDrained,
    StatusReported,
)
from callstream_core.flow import Flow
from callstream_core.framer import Framer
from callstream_core.ledger import Clearing, Ledger
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.marks import Ordered, Questions
from callstream_core.outputs import Output, Transmit
from callstream_core.pacer import Pacer
from callstream_core.timers import Timer, TimerTable

# Audio is sent again when this part of the send-ahead, or this many seconds, was played: not for every frame.
_REFILL = 0.25
# A wake-up is never asked for the present moment: a handled timeout must move.
_SOON = 1e-3


class Reply:
    """Holds audio until the platform may have it, and knows what became of it.

    Methods take `now` and append what must happen to `out`. While `credit` lasts, whole frames may be sent
    with `pass_on` alone: nothing waits, nothing is held, and there is room.
    """

    def __init__(
        self,
        audio: AudioFormat,
        capabilities: Capabilities,
        *,
        limits: Limits,
        settings: PlayoutSettings,
        timers: TimerTable,
    ) -> None:
        self.audio = audio
        self.credit = 0
        self.is_paused = False
        self.is_finished = False
        """True once everything was heard that `finish` waited for."""
        self._is_blocked = False
        self._limits = limits
        self._settings = settings
        self._timers = timers
        self._pending: deque[bytes | Ordered] = deque()
        self._pending_size = 0
        self._packets = 0
        self._questions = Questions()
        self.adopt(capabilities)

    def adopt(self, capabilities: Capabilities) -> None:
        """Work by these capabilities from now on."""
        self.capabilities = capabilities
        self.frame_size = self.audio.frame_size or 1
        self.framer = Framer(self.frame_size)
        self.credit = 0
        ptime = self.audio.ptime
        self._pacer: Pacer | None = None
        if capabilities.clock is Clock.APP:
            self._pacer = Pacer(ptime, max_burst_packets=self._limits.max_burst_packets)
        self.ledger = Ledger(1 / ptime if self._pacer else self.frame_size / ptime)
        self.flow = Flow(
            send_ahead=self._settings.send_ahead,
            max_queue=capabilities.max_queue,
            ptime=ptime,
            rate=self.ledger.rate,
        )
        self._questions.emulate()
        self._packets = sum(isinstance(item, bytes) for item in self._pending)

    # Read-outs

    @property
    def pending(self) -> int:
        """Bytes of whole frames that wait here."""
        return self._pending_size

    @property
    def room(self) -> int:
        """Bytes of audio that would be accepted now."""
        if len(self._pending) >= self._limits.max_pending_items:
            return 0
        return max(self._limits.max_pending_audio - self._pending_size, 0)

    @property
    def _units(self) -> int:
        """What waits here, in the ledger's units."""
        return self._packets if self._pacer else self._pending_size

    def heard(self, now: float) -> float:
        """Return the seconds that were heard: no further than the first mark that the platform has not answered."""
        position = self.ledger.position(now)
        behind = position - self._questions.bound(position)
        return (self.ledger.heard(now) - behind) / self.ledger.rate

    def backlog(self, now: float) -> float:
        """Return the seconds of audio that wait here, or were sent and are not heard."""
        return self.ledger.backlog(now) + self._units / self.ledger.rate

    # What the application wants

    def pass_on(self, size: int, now: float) -> None:
        """Record a message of whole frames that is sent at once on `credit`."""
        self.credit -= size
        self.ledger.accepted += size
        self.ledger.send(size, now)

    def play(self, data: bytes, now: float, out: list[Output]) -> None:
        """Accept audio."""
        if len(data) > self.room:
            raise PendingAudioFull(
                f"{self._pending_size} bytes in {len(self._pending)} pieces wait to be sent already; "
                "send more when some of it has been played"
            )
        if self._pacer is not None and self.audio.is_packets:
            self._enqueue(data, max(len(data), 1), now)
        elif self._pacer is not None:
            self._enqueue(self.framer.feed(data), self.frame_size, now)
        else:
            self._enqueue(self.framer.feed(data), self.capabilities.max_message, now)
        self.pump(now, out)

    def _enqueue(self, audio: bytes, size: int, now: float) -> None:
        if not audio:
            return
        if self._pacer is not None and not self._packets:
            self._pacer.begin(now)
        chunks = [audio] if len(audio) <= size else [audio[at : at + size] for at in range(0, len(audio), size)]
        self._pending.extend(chunks)
        self._pending_size += len(audio)
        self._packets += len(chunks)
        self.ledger.accepted += len(chunks) if self._pacer else len(audio)

    def end_utterance(self, now: float, out: list[Output]) -> None:
        """Pad the last frame with silence, and begin to count anew what is heard."""
        self._enqueue(self.framer.finish(self.audio.silence(1)), self.frame_size, now)
        self.ledger.end_utterance(self._units)
        self.pump(now, out)

    def send_leftover(self, now: float) -> None:
        """Send the unfinished frame as it is: the platform joins it, or plays it short."""
        self._enqueue(self.framer.take(), self.frame_size, now)

    def place(self, ordered: Ordered, now: float, out: list[Output]) -> None:
        """Send a command when all audio before it was sent."""
        if ordered.wants_answer and len(self._questions) + len(self._waiting()) >= self._limits.max_marks:
            raise LocalProtocolError(f"{self._limits.max_marks} marks are open; wait for some of them")
        self._pending.append(ordered)
        self.pump(now, out)

    def _waiting(self) -> list[Ordered]:
        if len(self._pending) == self._packets:
            return []
        return [item for item in self._pending if isinstance(item, Ordered)]

    def pause(self, now: float) -> None:
        """Stop the playout clock."""
        self.is_paused = True
        self._hold(now)

    def resume(self, now: float, out: list[Output]) -> None:
        """Let it run on."""
        self.is_paused = False
        self._release(now, out)

    def block(self, is_blocked: bool, now: float, out: list[Output]) -> None:
        """Keep audio here while the platform would throw it away, and its playout stands still."""
        self._is_blocked = is_blocked
        if is_blocked:
            self._hold(now)
        else:
            self._release(now, out)

    def _hold(self, now: float) -> None:
        self.credit = 0
        self.ledger.hold(now)
        self._timers.cancel(Timer.PUMP)
        self._timers.cancel(Timer.MARKS)

    def _release(self, now: float, out: list[Output]) -> None:
        if not self.is_paused and not self._is_blocked:
            self.ledger.release(now)
            if self._pacer is not None:
                self._pacer.restart(now)
            self.pump(now, out)
            self._watch_questions()

    def clear(self, now: float, out: list[Output]) -> Clearing:
        """Drop everything unheard and answer every mark; a pause ends. The session tells the platform."""
        leftover = 0 if self._pacer else self.framer.leftover
        self.ledger.accepted += leftover
        clearing = self.ledger.clear(self._units + leftover, self._questions.bound(self.ledger.position(now)), now)
        waiting = self._waiting()
        self._drop_pending()
        for question in (*self._questions.take(lambda q: not isinstance(q.command, ReportDrained)), *waiting):
            if question.wants_answer:
                self._conclude(question, out, MarkOutcome.CLEARED, is_estimated=False)
        # A report that the platform owes us survives a clear: it comes with the next tick.
        for report in self._questions.take(lambda q: True):
            self._questions.ask(report, self.ledger.sent)
        self.is_paused = False
        if self._is_blocked:
            self.ledger.hold(now)
        self._resume_flow(now, out)
        self.pump(now, out)
        self._watch_questions()
        return clearing

    def cleared(self, clearing: Clearing, *, is_estimated: bool) -> PlayoutCleared:
        """Return the answer to a clear, once it is known where playout stood."""
        self.ledger.settle(clearing)
        return PlayoutCleared(heard=clearing.heard, discarded=clearing.discarded, is_estimated=is_estimated)

    def finish(self, question: Ordered, now: float, out: list[Output]) -> None:
        """End the utterance, and set `is_finished` when all of it was heard, by the answer to `question`."""
        self.end_utterance(now, out)
        if self.is_paused:
            self.resume(now, out)
        if not self._pending and self.ledger.is_settled:
            self.is_finished = True
        else:
            self.place(question, now, out)

    def close(self, out: list[Output]) -> None:
        """Answer every open mark: the session is over."""
        for question in (*self._questions.take(lambda q: True), *self._waiting()):
            if question.wants_answer and not isinstance(question.command, ReportDrained):
                self._conclude(question, out, MarkOutcome.CLEARED, is_estimated=False)
        self._drop_pending()

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._pending_size = self._packets = self.credit = 0
        self.framer.take()

    # What the platform says

    def stop_flow(self, now: float, out: list[Output]) -> None:
        """Obey the platform's stop."""
        if not self.flow.is_paused:
            self.flow.is_paused = True
            self.credit = 0
            self._timers.cancel(Timer.PUMP)
            self.watch_status(now)
            out.append(FlowPaused())

    def resume_flow(self, now: float, out: list[Output]) -> bool:
        """Obey the platform's go; False if it had not said stop."""
        was_paused = self._resume_flow(now, out)
        self.pump(now, out)
        return was_paused

    def _resume_flow(self, now: float, out: list[Output]) -> bool:
        if not self.flow.is_paused:
            return False
        self.flow.is_paused = False
        if self._pacer is not None:
            self._pacer.restart(now)
        out.append(FlowResumed())
        return True

    def mark_reached(self, event: MarkReached | BufferingCompleted, now: float, out: list[Output]) -> bool:
        """Answer the oldest open mark of this name; False if the answer is late, or nobody asked."""
        question = self._questions.take_named(event)
        if question is None:
            return False
        self.ledger.acknowledge(question.position, now)
        self._conclude(question, out, MarkOutcome.PLAYED, is_estimated=False)
        self.pump(now, out)
        self._watch_questions()
        return True

    def is_late(self, event: MarkReached | BufferingCompleted) -> bool:
        """Tell whether an answer comes after we gave our own."""
        return self._questions.is_late(event)

    def drained(self, now: float, out: list[Output]) -> None:
        """Take the platform's word that it has played all that it had when it was asked."""
        reports = self._questions.take(lambda q: q.is_native and isinstance(q.command, ReportDrained))
        if reports:
            self.ledger.acknowledge(reports[-1].position, now)
        self.is_finished = self.is_finished or any(report.is_ours for report in reports)
        # One word answers all who asked; unasked, it is news all the same.
        if not reports or not all(report.is_ours for report in reports):
            out.append(PlayoutDrained())
        self.pump(now, out)
        self._watch_questions()

    def correct(self, report: StatusReported, sent: int, now: float, out: list[Output]) -> None:
        """Set the ledger by the platform's queue level, which counts what was sent up to `sent`."""
        position = sent - self.queued_units(report)
        if position >= self.ledger.acknowledged:
            self.ledger.acknowledge(position, now)
        if not report.is_full:
            self._resume_flow(now, out)
        self.pump(now, out)
        self._watch_questions()

    def queued_units(self, report: StatusReported) -> int:
        """Return the platform's queue level in the ledger's units."""
        return report.queue_length * (1 if self._pacer else self.frame_size)

    # Sending

    def pump(self, now: float, out: list[Output]) -> None:
        """Send what may be sent now, and set the timer for the rest."""
        pending = self._pending
        self.credit = 0
        if pending and not self._is_blocked and not self.flow.is_paused:
            if self._pacer is None:
                self._send_ahead(now, out)
            else:
                self._send_due(self._pacer, now, out)
        if not pending:
            self._timers.cancel(Timer.PUMP)
            if self._pacer is None and not self._is_blocked and not self.framer.leftover:
                # Whole frames only: the fast path sends what it is given.
                self.credit = int(max(self._room(now), 0))
        if self.ledger.backlog(now) > 0:
            self.watch_status(now)

    def _room(self, now: float) -> float:
        return self.flow.room(self.ledger.backlog(now) * self.ledger.rate)

    def _send_ahead(self, now: float, out: list[Output]) -> None:
        pending = self._pending
        room = self._room(now)
        while pending:
            item = pending[0]
            if isinstance(item, Ordered):
                pending.popleft()
                self._ask(item, out)
            elif len(item) <= room:
                pending.popleft()
                self._packets -= 1
                self._transmit(item, len(item), now, out)
                room -= len(item)
            else:
                whole = int(max(room, 0)) // self.frame_size * self.frame_size
                if whole:
                    pending[0] = item[whole:]
                    self._transmit(item[:whole], whole, now, out)
                self._watch_room(now)
                return

    def _watch_room(self, now: float) -> None:
        ahead = self.flow.max_ahead / self.ledger.rate
        if not self.ledger.is_held:
            wait = self.ledger.backlog(now) - ahead + min(ahead * _REFILL, _REFILL)
            self._timers.set(Timer.PUMP, now + max(wait, self.audio.ptime))

    def _send_due(self, pacer: Pacer, now: float, out: list[Output]) -> None:
        pending = self._pending
        if self.is_paused:
            return
        count = pacer.take(now, self._packets) if self._packets else 0
        while pending:
            item = pending[0]
            if isinstance(item, Ordered):
                self._ask(item, out)
            elif count > 0:
                count -= 1
                self._packets -= 1
                self._transmit(item, 1, now, out)
            else:
                self._timers.set(Timer.PUMP, max(pacer.next_due, now + _SOON))
                return
            pending.popleft()

    def _transmit(self, audio: bytes, units: int, now: float, out: list[Output]) -> None:
        self._pending_size -= len(audio)
        self.ledger.send(units, now)
        out.append(Transmit(audio))

    # Questions and their answers

    def _ask(self, ordered: Ordered, out: list[Output]) -> None:
        out.extend(map(Transmit, ordered.messages))
        if ordered.wants_answer:
            self._questions.ask(ordered, self.ledger.sent)
            self._watch_questions()

    def _watch_questions(self) -> None:
        deadline = self._questions.earliest(
            self.ledger, slack=self._limits.acknowledgement_slack, tick=self.audio.ptime
        )
        if deadline < math.inf:
            self._timers.set(Timer.MARKS, deadline)
        else:
            self._timers.cancel(Timer.MARKS)

    def answer_overdue(self, now: float, out: list[Output]) -> int:
        """Answer by estimate what the platform will not answer; return how many it owed us."""
        slack, tick = self._limits.acknowledgement_slack, self.audio.ptime
        overdue = self._questions.take(
            lambda q: self._questions.deadline(q, self.ledger, slack=slack, tick=tick) <= now
        )
        for question in overdue:
            self._conclude(question, out, MarkOutcome.PLAYED, is_estimated=True)
        self._watch_questions()
        return sum(question.is_native for question in overdue)

    def _conclude(self, question: Ordered, out: list[Output], outcome: MarkOutcome, *, is_estimated: bool) -> None:
        if question.is_ours:
            self.is_finished = True
            return
        if is_estimated or outcome is MarkOutcome.CLEARED:
            self._questions.answered(question)
        out.append(question.answer(outcome, is_estimated=is_estimated))

    def watch_status(self, now: float) -> None:
        """Have the queue level asked for in a while."""
        interval = self._settings.status_interval
        if interval is not None and self.capabilities.has_status and not self._timers.is_set(Timer.SYNC):
            self._timers.set(Timer.SYNC, now + interval)
