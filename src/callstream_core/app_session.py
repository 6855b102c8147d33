"""The application end of one call: hears events, says commands."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import attrs

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.closing import is_clean, reason_of
from callstream_core.dialect import Capabilities, Codec, Dialect, Support
from callstream_core.errors import LocalProtocolError, Malformed, Unsupported
from callstream_core.ledger import Clearing
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import Machine, State, rows_for
from callstream_core.marks import Ordered
from callstream_core.outputs import CloseLink, Output, Transmit
from callstream_core.reply import Reply
from callstream_core.timers import Timer, TimerTable

_ADVICE = {
    c.SendDigit: "send DTMF through the platform's own interface, outside the media socket",
    c.SetDirection: "ask the platform for it when the call is set up",
}


@attrs.define
class _Inquiry:
    """One question for the queue level: who wanted it, and what had been sent by then."""

    sent: int
    is_wanted: bool = False
    clearing: Clearing | None = None


class AppSession:
    """Hears a platform's events and says an application's commands, for one call.

    Every input returns what must happen next, in order. Nothing is raised for what the peer sent; `send` raises
    for mistakes of its caller, and has then changed nothing. A `now` earlier than the last one counts as the last.
    """

    def __init__(
        self,
        dialect: Dialect,
        profile: Any = None,
        *,
        limits: Limits | None = None,
        settings: PlayoutSettings | None = None,
        now: float | None = None,
    ) -> None:
        """Begin a session; with `now`, the platform's opening has a deadline."""
        self.dialect = dialect
        self.limits = limits or Limits()
        self.settings = settings or PlayoutSettings()
        self.opened: e.SessionOpened | None = None
        """What the platform announced."""
        self.counters: Counter[str] = Counter()
        """Every tolerance that was needed, by name."""
        self.direction = e.Direction.BOTH
        self._codec: Codec = dialect.codec(profile)
        self._machine = Machine(rows_for(e.Side.APP, dialect.table))
        self._timers = TimerTable()
        self._now = float("-inf")
        self._reply: Reply | None = None
        self._hears_raw = False
        self._early: list[bytes] = []
        self._inquiries: deque[_Inquiry] = deque()
        self._initiator: e.Side | None = None
        if now is not None:
            self._timers.set(Timer.OPENING, now + self.limits.opening_timeout)

    # What anybody may read

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._machine.state

    @property
    def capabilities(self) -> Capabilities:
        """What the platform can do; known once the session is open."""
        return self._codec.capabilities

    @property
    def room(self) -> int:
        """Bytes of audio that `SendAudio` would take now."""
        return self._reply.room if self._reply else 0

    @property
    def pending(self) -> int:
        """Bytes of audio that were accepted and not sent yet."""
        return self._reply.pending if self._reply else 0

    @property
    def is_flow_paused(self) -> bool:
        """True while the platform's queue is full."""
        return self._reply is not None and self._reply.flow.is_paused

    @property
    def latency_debt(self) -> float:
        """Seconds by which the platform's playout has fallen behind its clock since it last ran dry."""
        return self._reply.ledger.debt if self._reply else 0.0

    def heard(self, now: float) -> float:
        """Return the seconds of our audio that the caller has heard."""
        return self._reply.heard(now) if self._reply else 0.0

    def backlog(self, now: float) -> float:
        """Return the seconds of audio between us and the caller's ear: waiting here, or sent and not heard."""
        return self._reply.backlog(now) if self._reply else 0.0

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        return self._timers.earliest

    # What the platform says

    def receive(self, message: str | bytes, now: float) -> list[Output]:
        """Take one message from the platform."""
        self._now = now = max(now, self._now)
        if self._hears_raw and type(message) is bytes:
            return [e.AudioReceived(message)]
        out: list[Output] = []
        state = self.state
        if state is State.CLOSED:
            return out
        if isinstance(message, bytes) and state is State.OPENING:
            self._keep_early(message)
            return out
        if len(message) > self.limits.max_text and isinstance(message, str):
            self._misbehaved(f"a text of {len(message)} characters; {self.limits.max_text} are the most", now, out)
            return out
        try:
            events = self._codec.decode_event(message)
        except Malformed as error:
            self._misbehaved(str(error), now, out)
            return out
        for event in events:
            self._hear(event, now, out)
        return out

    def _hear(self, event: e.Event, now: float, out: list[Output]) -> None:
        if isinstance(event, e.MessageIgnored):
            self.counters["messages_ignored"] += 1
            out.append(event)
        elif self._machine.hear(event):
            act = _HEARD.get(type(event))
            if act is None:
                out.append(event)
            else:
                act(self, event, now, out)
                self._end_if_finished(now, out)
        else:
            self._misbehaved(f"{type(event).__name__} while the session is {self.state.value}", now, out)

    def _misbehaved(self, reason: str, now: float, out: list[Output]) -> None:
        self.counters["misbehaved"] += 1
        out.append(e.PeerMisbehaved(reason))
        if self.counters["misbehaved"] > self.limits.max_misbehaviour:
            self._close(1002, "too many broken messages", e.Side.APP, out)

    def _keep_early(self, audio: bytes) -> None:
        kept = sum(map(len, self._early))
        if kept + len(audio) > self.limits.max_early_audio or len(self._early) >= self.limits.max_early_messages:
            self.counters["early_audio_dropped"] += 1
        else:
            # Drivers up to 22.7 let audio overtake the opening message (asterisk#1712).
            self.counters["early_audio_kept"] += 1
            self._early.append(audio)

    def _hear_opened(self, event: e.SessionOpened, now: float, out: list[Output]) -> None:
        self.opened = event
        self._timers.cancel(Timer.OPENING)
        if event.reply_format is not None:
            self._reply = Reply(
                event.reply_format,
                self.capabilities,
                limits=self.limits,
                settings=self.settings,
                timers=self._timers,
            )
            self._reply.pump(now, [])
        self._settle_hearing()
        out.append(event)
        early, self._early = self._early, []
        out.extend(map(e.AudioReceived, early))

    def _settle_hearing(self) -> None:
        self._hears_raw = self.capabilities.is_raw and e.AudioReceived in self._machine.hears

    def _hear_mark(self, event: e.MarkReached | e.BufferingCompleted, now: float, out: list[Output]) -> None:
        reply = self._reply
        if reply is None or not reply.mark_reached(event, now, out):
            if reply is not None and reply.is_late(event):
                self.counters["late_marks"] += 1
            else:
                self.counters["unknown_marks"] += 1
                out.append(e.MessageIgnored(f"mark {event.name!r} was never placed"))

    def _hear_drained(self, _event: e.PlayoutDrained, now: float, out: list[Output]) -> None:
        if self._reply:
            self._reply.drained(now, out)

    def _hear_paused(self, _event: e.FlowPaused, now: float, out: list[Output]) -> None:
        if self._reply:
            self._reply.stop_flow(now, out)

    def _hear_resumed(self, _event: e.FlowResumed, now: float, out: list[Output]) -> None:
        # After our own clear the platform's "go" is old news.
        if self._reply and not self._reply.resume_flow(now, out):
            self.counters["stray_resumes"] += 1

    def _hear_status(self, event: e.StatusReported, now: float, out: list[Output]) -> None:
        reply = self._reply
        inquiry = self._inquiries.popleft() if self._inquiries else None
        if not self._inquiries:
            self._timers.cancel(Timer.STATUS)
        if inquiry is None or inquiry.is_wanted:
            out.append(event)
        if inquiry is None or reply is None:
            return
        clearing = inquiry.clearing
        if clearing is not None:
            position = inquiry.sent - reply.queued_units(event)
            clearing.position = min(max(position, clearing.acknowledged), clearing.sent)
            out.append(reply.cleared(clearing, is_estimated=False))
        elif all(later.clearing is None for later in self._inquiries):
            reply.correct(event, inquiry.sent, now, out)

    def _hear_failed(self, event: e.PlatformFailed, now: float, out: list[Output]) -> None:
        out.append(event)
        if self._reply and self._reply.capabilities != self.capabilities:
            self._reply.adopt(self.capabilities)
            self._reply.answer_overdue(now, out)
            self._reply.pump(now, out)

    def _hear_ending(self, event: e.SessionEnding, _now: float, out: list[Output]) -> None:
        self._initiator = e.Side.PLATFORM
        out.append(event)

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[Output]:
        """Take the end of the WebSocket: its close code, 1005 for a close without one, None for a lost connection."""
        self._now = max(now, self._now)
        out: list[Output] = []
        if self.state is State.CLOSED:
            return out
        if code is not None:
            out.append(CloseLink(None if code == 1005 else code))
        has_ended = self.state is State.ENDING
        self._finish(code, reason, self._initiator or e.Side.PLATFORM, is_clean(code) or has_ended, out)
        return out

    def fail(self, code: int, reason: str, now: float) -> list[Output]:
        """End the session because of something that only the link can see; say `code` to the peer."""
        self._now = max(now, self._now)
        out: list[Output] = []
        if self.state is not State.CLOSED:
            self._close(code, reason, e.Side.APP, out)
        return out

    # What the application says

    def send(self, command: c.Command, now: float) -> list[Output]:
        """Say one command. Raise `LocalProtocolError` or `Unsupported` where that is a mistake; nothing is changed then."""
        self._now = now = max(now, self._now)
        reply = self._reply
        if type(command) is c.SendAudio and reply is not None:
            data = command.data
            size = len(data)
            # The common case: whole frames, nothing in their way.
            if 0 < size <= reply.credit and not size % reply.frame_size and size <= reply.capabilities.max_message:
                reply.pass_on(size, now)
                return [Transmit(data)]
        machine = self._machine
        if type(command) not in machine.says:
            self._advise(command)
            machine.say(command)
        out: list[Output] = []
        _SAID[type(command)](self, command, now, out)
        self._end_if_finished(now, out)
        return out

    def _advise(self, command: c.Command) -> None:
        advice = _ADVICE.get(type(command))
        if advice is not None and self.opened is not None:
            raise Unsupported(f"{self.dialect.name} cannot do {type(command).__name__}: {advice}")

    def _say(self, command: c.Command, support: Support = Support.NATIVE) -> list[str | bytes]:
        """Return the messages of a command: none where we do it ourselves."""
        if support is Support.NATIVE:
            refusal = self._codec.refusal(command, self.direction)
            if refusal is not None:
                raise Unsupported(f"the platform would answer: {refusal.strip()}")
            return list(self._codec.encode_command(command))
        if support is Support.EMULATED and self.settings.emulates:
            return []
        raise Unsupported(
            f"{self.dialect.name} has no {type(command).__name__} for this call"
            + ("; allow it to be emulated (PlayoutSettings.emulates)" if support is Support.EMULATED else "")
        )

    def _plain(self, command: c.Command, _now: float, out: list[Output]) -> None:
        messages = self._say(command)
        self._machine.say(command)
        self._settle_hearing()
        out.extend(map(Transmit, messages))

    @property
    def _stream(self) -> Reply:
        if self._reply is None:
            raise Unsupported(f"{self.dialect.name} only listens: nothing can be played to the caller")
        return self._reply

    def _say_audio(self, command: c.SendAudio, now: float, out: list[Output]) -> None:
        if self.direction is e.Direction.IN:
            raise LocalProtocolError(
                "media direction is 'in': the platform would discard audio; set it to 'both' first"
            )
        self._stream.play(command.data, now, out)

    def _say_end_utterance(self, command: c.EndUtterance, now: float, out: list[Output]) -> None:
        if command.name is not None:
            mark = c.PlaceMark(command.name)
            question = Ordered(mark, self._say(mark, self.capabilities.marks), self._is_native(self.capabilities.marks))
            self._stream.end_utterance(now, out)
            self._stream.place(question, now, out)
        else:
            self._stream.end_utterance(now, out)

    def _say_ordered(self, command: c.Command, now: float, out: list[Output]) -> None:
        support = self.capabilities.drained if isinstance(command, c.ReportDrained) else self.capabilities.marks
        question = Ordered(command, self._say(command, support), self._is_native(support))
        if isinstance(command, c.StopBuffering):
            self._stream.send_leftover(now)
        self._stream.place(question, now, out)

    @staticmethod
    def _is_native(support: Support) -> bool:
        return support is Support.NATIVE

    def _say_clear(self, command: c.ClearPlayout, now: float, out: list[Output]) -> None:
        reply = self._stream
        messages = self._say(command, self.capabilities.clear)
        # The queue level just before the clear tells to the frame what the caller heard.
        asks = (
            bool(messages) and self.capabilities.has_status and (bool(self._inquiries) or not reply.ledger.is_settled)
        )
        if asks:
            self._ask_status(now, out)
        out.extend(map(Transmit, messages))
        if messages and reply.is_paused:
            # FLUSH_MEDIA does not end a pause, whatever its documentation says.
            out.extend(map(Transmit, self._say(c.ResumePlayout())))
        clearing = reply.clear(now, out)
        if asks:
            self._inquiries[-1].clearing = clearing
        else:
            certain = clearing.position == clearing.acknowledged == clearing.sent
            out.append(reply.cleared(clearing, is_estimated=not certain))

    def _say_pause(self, command: c.PausePlayout, now: float, out: list[Output]) -> None:
        out.extend(map(Transmit, self._say(command, self.capabilities.pause)))
        self._stream.pause(now)

    def _say_resume(self, command: c.ResumePlayout, now: float, out: list[Output]) -> None:
        out.extend(map(Transmit, self._say(command, self.capabilities.pause)))
        self._stream.resume(now, out)

    def _say_direction(self, command: c.SetDirection, now: float, out: list[Output]) -> None:
        out.extend(map(Transmit, self._say(command)))
        if command.direction is not self.direction:
            self.direction = command.direction
            out.append(e.DirectionChanged(command.direction))
            self._stream.block(command.direction is e.Direction.IN, now, out)

    def _say_status(self, _command: c.RequestStatus, now: float, out: list[Output]) -> None:
        self._ask_status(now, out)
        self._inquiries[-1].is_wanted = True

    def _ask_status(self, now: float, out: list[Output]) -> None:
        out.extend(map(Transmit, self._say(c.RequestStatus())))
        self._inquiries.append(_Inquiry(self._reply.ledger.sent if self._reply else 0))
        if not self._timers.is_set(Timer.STATUS):
            self._timers.set(Timer.STATUS, now + self.limits.status_timeout)

    def _say_hang_up(self, command: c.HangUp | c.Reject, now: float, out: list[Output]) -> None:
        if isinstance(command, c.HangUp) and command.when is c.When.AFTER_PLAYOUT and self._reply:
            if self.state is State.OPEN:
                question: c.Command = c.ReportDrained()
                support = self.capabilities.drained
                if support is not Support.NATIVE:
                    question, support = c.PlaceMark("last word"), self.capabilities.marks
                native = self._is_native(support)
                messages = self._say(question) if native else []
                self._machine.move(State.FINISHING)
                self._reply.finish(Ordered(question, messages, native, is_ours=True), now, out)
        else:
            self._hang_up(command, now, out)

    def _hang_up(self, command: c.HangUp | c.Reject, now: float, out: list[Output]) -> None:
        messages = self._say(command)
        self._machine.say(command)
        self._settle_hearing()
        self._initiator = e.Side.APP
        self._timers.clear()
        if self._reply:
            self._reply.credit = 0
        if messages:
            out.extend(map(Transmit, messages))
            self._timers.set(Timer.CLOSING, now + self.limits.close_timeout)
        else:
            # The close itself is the hang-up.
            self._close(1000, "", e.Side.APP, out)

    def _end_if_finished(self, now: float, out: list[Output]) -> None:
        if self.state is State.FINISHING and self._reply and self._reply.is_finished:
            self._hang_up(c.HangUp(), now, out)

    # Time

    def handle_timeout(self, now: float) -> list[Output]:
        """Do what is due at `now`; early, late and double calls do no harm."""
        self._now = now = max(now, self._now)
        out: list[Output] = []
        for timer in self._timers.take_due(now):
            # One deadline may have ended the session, and with it all others.
            if self.state is not State.CLOSED:
                _DUE[timer](self, now, out)
        self._end_if_finished(now, out)
        return out

    def _due_opening(self, _now: float, out: list[Output]) -> None:
        out.append(e.PeerMisbehaved(f"no opening message within {self.limits.opening_timeout:g} s"))
        self._close(1002, "no opening message", e.Side.APP, out)

    def _due_pump(self, now: float, out: list[Output]) -> None:
        self._stream.pump(now, out)

    def _due_marks(self, now: float, out: list[Output]) -> None:
        owed = self._stream.answer_overdue(now, out)
        if owed:
            self.counters["unanswered_marks"] += owed

    def _due_status(self, _now: float, out: list[Output]) -> None:
        self.counters["unanswered_status"] += len(self._inquiries)
        for inquiry in self._inquiries:
            if inquiry.clearing is not None:
                out.append(self._stream.cleared(inquiry.clearing, is_estimated=True))
        self._inquiries.clear()

    def _due_sync(self, now: float, out: list[Output]) -> None:
        reply = self._stream
        if reply.ledger.backlog(now) > 0 or not reply.ledger.is_settled or reply.flow.is_paused:
            self._ask_status(now, out)
            reply.watch_status(now)

    def _due_closing(self, _now: float, out: list[Output]) -> None:
        out.append(CloseLink(1000))
        self._finish(None, "the platform did not close after the hang-up", e.Side.APP, False, out)

    # The end

    def _close(self, code: int, reason: str, initiator: e.Side, out: list[Output]) -> None:
        out.append(CloseLink(code, reason))
        self._finish(code, reason, initiator, code == 1000, out)

    def _finish(self, code: int | None, reason: str, initiator: e.Side, clean: bool, out: list[Output]) -> None:
        for inquiry in self._inquiries:
            if inquiry.clearing is not None:
                out.append(self._stream.cleared(inquiry.clearing, is_estimated=True))
        self._inquiries.clear()
        if self._reply:
            self._reply.close(out)
        self._early.clear()
        self._timers.clear()
        self._machine.move(State.CLOSED)
        self._hears_raw = False
        out.append(
            e.SessionClosed(
                initiator=initiator,
                code=code,
                reason=reason_of(code, reason),
                is_clean=clean,
                call_continues=self.capabilities.call_continues,
            )
        )


_Hear = Callable[[AppSession, Any, float, list[Output]], None]
_HEARD: dict[type, _Hear] = {
    e.SessionOpened: AppSession._hear_opened,
    e.MarkReached: AppSession._hear_mark,
    e.BufferingCompleted: AppSession._hear_mark,
    e.PlayoutDrained: AppSession._hear_drained,
    e.FlowPaused: AppSession._hear_paused,
    e.FlowResumed: AppSession._hear_resumed,
    e.StatusReported: AppSession._hear_status,
    e.PlatformFailed: AppSession._hear_failed,
    e.SessionEnding: AppSession._hear_ending,
}
_SAID: dict[type, _Hear] = {
    c.Answer: AppSession._plain,
    c.SendDigit: AppSession._plain,
    c.StartBuffering: AppSession._say_ordered,
    c.StopBuffering: AppSession._say_ordered,
    c.PlaceMark: AppSession._say_ordered,
    c.ReportDrained: AppSession._say_ordered,
    c.SendAudio: AppSession._say_audio,
    c.EndUtterance: AppSession._say_end_utterance,
    c.ClearPlayout: AppSession._say_clear,
    c.PausePlayout: AppSession._say_pause,
    c.ResumePlayout: AppSession._say_resume,
    c.SetDirection: AppSession._say_direction,
    c.RequestStatus: AppSession._say_status,
    c.HangUp: AppSession._say_hang_up,
    c.Reject: AppSession._say_hang_up,
}
_DUE: dict[Timer, Callable[[AppSession, float, list[Output]], None]] = {
    Timer.OPENING: AppSession._due_opening,
    Timer.PUMP: AppSession._due_pump,
    Timer.MARKS: AppSession._due_marks,
    Timer.STATUS: AppSession._due_status,
    Timer.SYNC: AppSession._due_sync,
    Timer.CLOSING: AppSession._due_closing,
}
