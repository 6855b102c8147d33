"""Play to the caller: carry out what the application wants of the playout, and hear what the platform says of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialect import Capabilities, Support
from callstream_core.errors import LocalProtocolError
from callstream_core.inquiries import Inquiries
from callstream_core.marks import Ordered
from callstream_core.outputs import Output, Transmit
from callstream_core.reply import Reply
from callstream_core.timers import Timer
from callstream_core.wording import Wording


class Player:
    """The playout half of an application's session: what a platform has for marks, clears and pauses, or we do instead.

    `said`, `heard` and `due` map words and timers to its methods.
    """

    __slots__ = (
        "_counters",
        "_inquiries",
        "_wording",
        "reply",
    )

    def __init__(self, reply: Reply, wording: Wording, inquiries: Inquiries, counters: Counter[str]) -> None:
        self.reply = reply
        self._wording = wording
        self._inquiries = inquiries
        self._counters = counters

    @property
    def _can(self) -> Capabilities:
        return self.reply.capabilities

    def _is_in(self) -> bool:
        return self._wording.direction is e.Direction.IN

    # What the application wants

    def _say(self, command: c.Command, out: list[Output], support: Support = Support.NATIVE) -> None:
        out.extend(map(Transmit, self._wording.say(command, support)))

    def _send_audio(self, command: c.SendAudio, now: float, out: list[Output]) -> None:
        if self._is_in():
            raise LocalProtocolError(
                "media direction is 'in': the platform would discard audio; set it to 'both' first"
            )
        self.reply.play(command.data, now, out)

    def _end_utterance(self, command: c.EndUtterance, now: float, out: list[Output]) -> None:
        if command.name is None:
            self.reply.end_utterance(now, out)
        else:
            mark = self._ordered(c.PlaceMark(command.name), self._can.marks)
            self.reply.end_utterance(now, out)
            self.reply.place(mark, now, out)

    def _place_mark(self, command: c.PlaceMark, now: float, out: list[Output]) -> None:
        self.reply.place(self._ordered(command, self._can.marks), now, out)

    def _report_drained(self, command: c.ReportDrained, now: float, out: list[Output]) -> None:
        self.reply.place(self._ordered(command, self._can.drained), now, out)

    def _buffer(self, command: c.StartBuffering | c.StopBuffering, now: float, out: list[Output]) -> None:
        # There is nothing to emulate: we cut frames ourselves.
        self.reply.place(self._ordered(command, Support.NATIVE), now, out)

    def _ordered(self, command: c.Command, support: Support) -> Ordered:
        self.reply.check_place()
        return Ordered(command, self._wording.say(command, support), support is Support.NATIVE)

    def _clear(self, command: c.ClearPlayout, now: float, out: list[Output]) -> None:
        reply = self.reply
        messages = self._wording.say(command, self._can.clear)
        # The queue level just before the clear tells to the frame what the caller heard.
        asks = bool(messages) and self._can.has_status and (bool(self._inquiries) or not reply.is_certain)
        if asks:
            self._inquiries.check_room()
            self._say(c.RequestStatus(), out)
        out.extend(map(Transmit, messages))
        if messages and (held := reply.filling()):
            # The clear has not reached what is held back: push it out, and clear once more.
            self._say(c.SendAudio(held), out)
            out.extend(map(Transmit, messages))
        if messages and reply.is_paused and self._can.pause is Support.NATIVE and not self._is_in():
            # FLUSH_MEDIA does not end a pause, whatever its documentation says.
            self._say(c.ResumePlayout(), out)
        clearing = reply.clear(bool(messages), now, out)
        if asks:
            self._inquiries.ask(clearing.sent, now, clearing=clearing)
        else:
            out.append(reply.cleared(clearing))

    def _forget_marks(self, command: c.ForgetMarks, _now: float, out: list[Output]) -> None:
        self._say(command, out)
        self.reply.forget_marks(out)

    def _pause(self, command: c.PausePlayout, now: float, out: list[Output]) -> None:
        self._say(command, out, self._can.pause)
        self.reply.pause(now)

    def _resume(self, command: c.ResumePlayout, now: float, out: list[Output]) -> None:
        self._say(command, out, self._can.pause)
        self.reply.resume(now, out)

    def _set_direction(self, command: c.SetDirection, now: float, out: list[Output]) -> None:
        self._say(command, out)
        if command.direction is not self._wording.direction:
            self._wording.direction = command.direction
            out.append(e.DirectionChanged(command.direction))
            self.reply.block(self._is_in(), now, out)

    def _request_status(self, _command: c.RequestStatus, now: float, out: list[Output]) -> None:
        self._inquiries.check_room()
        self._ask_status(now, out, is_wanted=True)

    def _ask_status(self, now: float, out: list[Output], *, is_wanted: bool = False) -> None:
        self._say(c.RequestStatus(), out)
        self._inquiries.ask(self.reply.ledger.sent, now, is_wanted=is_wanted)

    def finish(self, now: float, out: list[Output]) -> None:
        """Play out; `reply.is_finished` tells when all was heard. A pause ends."""
        if self._is_in():
            raise LocalProtocolError("media direction is 'in': nothing plays out; set it to 'both', or hang up now")
        # An empty queue is the better sign: some drivers that report it ignore marks.
        question: c.Command = c.ReportDrained()
        support = self._can.drained
        if support is not Support.NATIVE:
            question, support = c.PlaceMark("last word"), self._can.marks
        is_native = support is Support.NATIVE and self.reply.takes_mark(self._can.max_marks)
        messages = self._wording.say(question) if is_native else ()
        if self.reply.is_paused:
            self._resume(c.ResumePlayout(), now, out)
        self.reply.finish(Ordered(question, messages, is_native, is_ours=True), now, out)

    def halt(self, now: float, out: list[Output]) -> None:
        """Send no more: the call was hung up."""
        self.reply.block(True, now, out)

    def close(self, now: float, out: list[Output]) -> None:
        """Answer whatever is open: the session is over."""
        self._give_up(math.inf, out)
        self.reply.close(now, out)

    # What the platform says

    def _hear_mark(self, event: e.MarkReached | e.BufferingCompleted, now: float, out: list[Output]) -> None:
        # What is said before the platform came to our clear belongs to marks that the clear has answered.
        is_late = self._inquiries.is_clearing or self._is_owed(event)
        if is_late or not self.reply.mark_reached(event, now, out):
            if is_late or self.reply.questions.is_late(event):
                self._counters["late_marks"] += 1
            else:
                self._counters["unknown_marks"] += 1
                out.append(e.MessageIgnored(f"mark {event.name!r} was never placed"))

    def _is_owed(self, event: e.MarkReached | e.BufferingCompleted) -> bool:
        questions = self.reply.questions
        is_stale = isinstance(event, e.MarkReached) and event.outcome is e.MarkOutcome.CLEARED
        return questions.settle_owed(event) or (is_stale and questions.is_late(event))

    def _hear_drained(self, _event: e.PlayoutDrained, now: float, out: list[Output]) -> None:
        self.reply.drained(now, out)

    def _hear_paused(self, _event: e.FlowPaused, now: float, out: list[Output]) -> None:
        self.reply.stop_flow(now, out)

    def _hear_resumed(self, _event: e.FlowResumed, now: float, out: list[Output]) -> None:
        # After our own clear the platform's "go" is old news.
        if not self.reply.resume_flow(now, out):
            self._counters["stray_resumes"] += 1

    def _hear_status(self, event: e.StatusReported, now: float, out: list[Output]) -> None:
        inquiry = self._inquiries.take()
        if inquiry is None or inquiry.is_wanted:
            out.append(event)
        if inquiry is None or inquiry.is_given_up:
            return
        if inquiry.clearing is not None:
            out.append(self.reply.cleared(inquiry.clearing, queued=self.reply.queued_units(event)))
        elif not self._inquiries.is_clearing:
            self.reply.correct(event, inquiry.sent, now, out)

    def _hear_direction(self, event: e.DirectionChanged, now: float, out: list[Output]) -> None:
        if event.direction is self._wording.direction:
            return
        self._wording.direction = event.direction
        out.append(event)
        if event.direction is e.Direction.IN:
            # It was so all along, or it would be our own doing: what was sent has been thrown away.
            clearing = self.reply.clear(False, now, out)
            out.append(self.reply.cleared(clearing, queued=clearing.sent - clearing.acknowledged))
        self.reply.block(self._is_in(), now, out)

    def adopt(self, capabilities: Capabilities, now: float, out: list[Output]) -> None:
        """Work by these capabilities from now on."""
        if capabilities != self._can:
            # Positions count in other units from here on.
            self._give_up(math.inf, out)
            self.reply.adopt(capabilities, now, out)

    # Time

    def _due_pump(self, now: float, out: list[Output]) -> None:
        self.reply.pump(now, out)

    def _due_marks(self, now: float, out: list[Output]) -> None:
        if owed := self.reply.questions.answer_overdue(self.reply.ledger, now, out):
            self._counters["unanswered_marks"] += owed

    def _due_sync(self, now: float, out: list[Output]) -> None:
        # One that went unanswered is not asked again.
        if self.reply.needs_status(now) and not self._inquiries:
            self._ask_status(now, out)

    def _give_up(self, now: float, out: list[Output]) -> None:
        for inquiry in self._inquiries.give_up(now):
            self._counters["unanswered_status"] += 1
            if inquiry.clearing is not None:
                out.append(self.reply.cleared(inquiry.clearing))

    said: Mapping[type, Callable[[Player, Any, float, list[Output]], None]] = {
        c.SendAudio: _send_audio,
        c.EndUtterance: _end_utterance,
        c.PlaceMark: _place_mark,
        c.ReportDrained: _report_drained,
        c.StartBuffering: _buffer,
        c.StopBuffering: _buffer,
        c.ClearPlayout: _clear,
        c.ForgetMarks: _forget_marks,
        c.PausePlayout: _pause,
        c.ResumePlayout: _resume,
        c.SetDirection: _set_direction,
        c.RequestStatus: _request_status,
    }
    heard: Mapping[type, Callable[[Player, Any, float, list[Output]], None]] = {
        e.MarkReached: _hear_mark,
        e.BufferingCompleted: _hear_mark,
        e.PlayoutDrained: _hear_drained,
        e.FlowPaused: _hear_paused,
        e.FlowResumed: _hear_resumed,
        e.StatusReported: _hear_status,
        e.DirectionChanged: _hear_direction,
    }
    due: Mapping[Timer, Callable[[Player, float, list[Output]], None]] = {
        Timer.PUMP: _due_pump,
        Timer.MARKS: _due_marks,
        Timer.STATUS: _give_up,
        Timer.SYNC: _due_sync,
    }
