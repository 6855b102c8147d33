"""The platform end of one call: says events, hears commands, plays audio. The simulated telephone system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.clip_playout import ClipPlayout
from callstream_core.closing import ABNORMAL, Outcome, is_clean, reason_of
from callstream_core.dialect import Capabilities, Codec, Dialect, PlayoutTraits, Profile
from callstream_core.errors import Malformed
from callstream_core.machine import Machine, State
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.playout import Played, Playout
from callstream_core.stream_playout import StreamPlayout
from callstream_core.timers import Timer, TimerTable


class PlatformSession:
    """Says a platform's events and hears an application's commands, as faithfully as its profile tells.

    The mirror of `AppSession`: `send` takes events, `receive` returns commands. Commands that were heard are outputs,
    as are frames that the caller hears (`FramePlayed`), and what a real platform would only write to its log
    (`PeerMisbehaved`). An answer by the platform itself shows as `Answer`, too.
    """

    def __init__(self, dialect: Dialect, profile: Profile | None = None) -> None:
        self.dialect = dialect
        self.profile = profile or dialect.profile()
        self.counters: Counter[str] = Counter()
        """Every mistake of the application that was passed over, by name."""
        self.is_answered = False
        self.outcome: Outcome | None = None
        """What became of the call, once it is over."""
        self.direction = self.profile.direction
        self.playout = _playout_for(self.profile.playout)
        self._codec: Codec = dialect.codec(profile or self.profile)
        self._machine = Machine(dialect.rows[e.Side.PLATFORM])
        self._timers = TimerTable()
        self._heard_at = float("-inf")
        self._now = float("-inf")

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._machine.state

    @property
    def capabilities(self) -> Capabilities:
        """What this platform offers."""
        return self._codec.capabilities

    def next_timeout(self) -> float | None:
        """Return when the playout clock has something to do, or our patience ends."""
        if self.state is State.CLOSED:
            return None
        tick, deadline = self.playout.next_tick(), self._timers.earliest
        if tick is None or deadline is None:
            return deadline if tick is None else tick
        return min(tick, deadline)

    def handle_timeout(self, now: float) -> list[Output]:
        """Serve the playout ticks that are due, and lose patience when it is time."""
        self._now = now = max(now, self._now)
        out: list[Output] = []
        if self.state is State.CLOSED:
            return out
        self._play(self.playout.tick(now), out)
        for timer in self._timers.take_due(now):
            if self.outcome is None:
                self._lose_patience(timer, now, out)
        return out

    def _lose_patience(self, timer: Timer, now: float, out: list[Output]) -> None:
        patience = self.profile.patience
        if timer is Timer.DECISION:
            self.outcome = Outcome.NO_ANSWER
            reason = f"no answer within {patience.answer:g} s"
        elif timer is Timer.DURATION:
            reason = f"max duration of {patience.duration:g} s"
        else:
            until = self._heard_at + (patience.silence or 0.0)
            if until > now:
                self._timers.set(timer, until)
                return
            reason = f"nothing heard for {patience.silence:g} s"
        self._close(1000, reason, e.Side.PLATFORM, out)

    def _be_patient(self, timer: Timer, seconds: float | None, now: float) -> None:
        if seconds is not None:
            self._timers.set(timer, now + seconds)

    # What the platform says

    def open(self, now: float) -> list[Output]:
        """Announce the call, as the profile describes it."""
        return self.send(self.profile.opening(), now)

    def send(self, event: e.Event, now: float) -> list[Output]:
        """Say one event. Raise `LocalProtocolError` where the conversation has no place for it."""
        self._now = now = max(now, self._now)
        self._machine.say(event)
        out: list[Output] = []
        # Nothing is queued on this side: what the caller says leaves at once.
        if not isinstance(event, e.AudioReceived) or self.direction is not e.Direction.OUT:
            self._transmit(event, out)
        if isinstance(event, e.SessionOpened):
            if self.direction is not e.Direction.IN:
                self.playout.start(now)
            if self.profile.auto_answer:
                self._answer(now, out)
            else:
                self._be_patient(Timer.DECISION, self.profile.patience.answer, now)
        elif isinstance(event, e.SessionEnding) and self.capabilities.platform_closes:
            self._close(1000, event.reason, e.Side.PLATFORM, out)
        elif isinstance(event, e.DigitReceived) and event.digit and event.digit in self.profile.patience.last_digits:
            self._close(1000, f"the caller pressed {event.digit}", e.Side.PLATFORM, out)
        return out

    def _transmit(self, event: e.Event, out: list[Output]) -> None:
        out.extend(map(Transmit, self._codec.encode_event(event)))

    def _answer(self, now: float, out: list[Output]) -> None:
        if not self.is_answered:
            self.is_answered = True
            self._heard_at = now
            self._timers.cancel(Timer.DECISION)
            self._be_patient(Timer.SILENCE, self.profile.patience.silence, now)
            self._be_patient(Timer.DURATION, self.profile.patience.duration, now)
            out.append(c.Answer())

    def _play(self, happened: list[Played], out: list[Output]) -> None:
        for thing in happened:
            if isinstance(thing, FramePlayed):
                out.append(thing)
            elif isinstance(thing, e.PeerMisbehaved):
                self._note(thing.reason, out)
            else:
                self._transmit(thing, out)

    def _note(self, reason: str, out: list[Output]) -> None:
        self.counters["misbehaved"] += 1
        out.append(e.PeerMisbehaved(reason))

    # What the application says

    def receive(self, message: str | bytes, now: float) -> list[Output]:
        """Take one message from the application."""
        self._now = now = max(now, self._now)
        out: list[Output] = []
        if self.state is State.CLOSED:
            return out
        if self.state is State.OPENING:
            self._note("a message before the call was announced", out)
            return out
        self.playout.skip_idle(now)
        try:
            heard = self._codec.decode_command(message)
        except Malformed as error:
            self._note(str(error), out)
            if error.is_answered:
                self._transmit(e.PlatformFailed(str(error)), out)
            if error.is_fatal:
                out.append(CloseLink(None))
                self._finish(None, "", e.Side.PLATFORM, out)
            return out
        for command in heard:
            if isinstance(command, e.PeerMisbehaved):
                self._note(command.reason, out)
                continue
            if not self._machine.hear(command):
                self._note(f"{type(command).__name__} while the session is {self.state.value}", out)
                continue
            refusal = self._codec.refusal(command, self.direction)
            if refusal is not None:
                self._note(refusal.strip(), out)
                self._transmit(e.PlatformFailed(refusal), out)
                continue
            if not isinstance(command, c.Answer):
                out.append(command)
            _HEARD[type(command)](self, command, now, out)
        return out

    def _hear_audio(self, command: c.SendAudio, now: float, out: list[Output]) -> None:
        self._heard_at = now
        if self.direction is e.Direction.IN:
            self._note(f"{len(command.data)} bytes of audio dropped: media direction is 'in'", out)
        else:
            self._play(self.playout.add(command.data), out)

    def _hear_answer(self, _command: c.Answer, now: float, out: list[Output]) -> None:
        self._answer(now, out)

    def _hear_sign_of_life(self, _command: c.KeepAlive, now: float, _out: list[Output]) -> None:
        self._heard_at = now

    def _hear_mark(self, command: c.PlaceMark, _now: float, _out: list[Output]) -> None:
        self.playout.add_notice(e.MarkReached(command.name))

    def _hear_start(self, _command: c.StartBuffering, _now: float, _out: list[Output]) -> None:
        self.playout.is_buffering = True

    def _hear_stop(self, command: c.StopBuffering, _now: float, out: list[Output]) -> None:
        self._play(self.playout.end_buffering(e.BufferingCompleted(command.name)), out)

    def _hear_clear(self, _command: c.ClearPlayout, now: float, out: list[Output]) -> None:
        self._play(self.playout.clear(now), out)

    def _hear_clip(self, command: c.PlayClip, now: float, out: list[Output]) -> None:
        self._play(self.playout.add_clip(command, now), out)

    def _hear_forget(self, _command: c.ForgetMarks, _now: float, _out: list[Output]) -> None:
        self.playout.forget_marks()

    def _hear_failure(self, command: c.ReportFailure, _now: float, out: list[Output]) -> None:
        self._note(f"the application failed: {command.text[:200]}", out)

    def _hear_pause(self, _command: c.PausePlayout, _now: float, _out: list[Output]) -> None:
        self.playout.is_paused = True

    def _hear_resume(self, _command: c.ResumePlayout, _now: float, _out: list[Output]) -> None:
        self.playout.is_paused = False

    def _hear_report(self, _command: c.ReportDrained, _now: float, _out: list[Output]) -> None:
        self.playout.reports_drained = True

    def _hear_status(self, _command: c.RequestStatus, _now: float, out: list[Output]) -> None:
        self._transmit(self.playout.status(), out)

    def _hear_direction(self, command: c.SetDirection, now: float, _out: list[Output]) -> None:
        if command.direction is e.Direction.IN:
            self.playout.stop()
        elif self.direction is e.Direction.IN:
            self.playout.start(now)
        self.direction = command.direction

    def _hear_hang_up(self, command: c.HangUp | c.Reject, _now: float, out: list[Output]) -> None:
        if isinstance(command, c.Reject):
            self.outcome = Outcome.BUSY if command.reason == "busy" else Outcome.REJECTED
        self._close(1000, "", e.Side.APP, out)

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[Output]:
        """Take the end of the WebSocket: its close code, 1005 for a close without one, None for a lost connection."""
        self._now = max(now, self._now)
        out: list[Output] = []
        code = None if code == ABNORMAL else code
        if self.state is not State.CLOSED:
            answer = self._codec.closing_code(code)
            if answer is not None:
                out.append(CloseLink(answer))
            self._finish(code, reason, e.Side.APP, out)
        return out

    def receive_pong(self, now: float) -> list[Output]:
        """Take a pong that nobody asked for."""
        self._now = max(now, self._now)
        out: list[Output] = []
        if self.profile.crashes_on_pong and self.state is not State.CLOSED:
            self._note("would_crash: an unasked pong ends the whole process of this generation; never send one", out)
        return out

    def fail(self, code: int, reason: str, now: float) -> list[Output]:
        """End the session because of something that only the link can see; say `code` to the peer."""
        self._now = max(now, self._now)
        out: list[Output] = []
        if self.state is not State.CLOSED:
            self._close(code, reason, e.Side.PLATFORM, out)
        return out

    # The end

    def _close(self, code: int, reason: str, initiator: e.Side, out: list[Output]) -> None:
        # Asterisk's closes carry no text.
        out.append(CloseLink(code))
        self._finish(code, reason, initiator, out)

    def _finish(self, code: int | None, reason: str, initiator: e.Side, out: list[Output]) -> None:
        self.playout.stop()
        self.playout.flush()
        self._timers.clear()
        self._settle_outcome(code, initiator)
        self._machine.move(State.CLOSED)
        out.append(
            e.SessionClosed(
                initiator=initiator,
                code=code,
                reason=reason_of(code, reason),
                is_clean=is_clean(code),
                call_continues=self.capabilities.call_continues,
            )
        )

    def _settle_outcome(self, code: int | None, initiator: e.Side) -> None:
        if self.outcome is not None:
            return
        if not is_clean(code):
            self.outcome = Outcome.FAILED
        elif self.is_answered:
            self.outcome = Outcome.COMPLETED
        elif initiator is e.Side.APP:
            self.outcome = Outcome.FAILED
        else:
            self.outcome = Outcome.CANCELLED


def _playout_for(traits: PlayoutTraits) -> Playout:
    if traits.prebuffer is not None:
        return StreamPlayout(traits, traits.prebuffer)
    return Playout(traits) if traits.clips is None else ClipPlayout(traits, traits.clips)


_HEARD: dict[type, Callable[[PlatformSession, Any, float, list[Output]], None]] = {
    c.SendAudio: PlatformSession._hear_audio,
    c.Answer: PlatformSession._hear_answer,
    c.PlaceMark: PlatformSession._hear_mark,
    c.StartBuffering: PlatformSession._hear_start,
    c.StopBuffering: PlatformSession._hear_stop,
    c.ClearPlayout: PlatformSession._hear_clear,
    c.PlayClip: PlatformSession._hear_clip,
    c.ForgetMarks: PlatformSession._hear_forget,
    c.ReportFailure: PlatformSession._hear_failure,
    c.PausePlayout: PlatformSession._hear_pause,
    c.ResumePlayout: PlatformSession._hear_resume,
    c.ReportDrained: PlatformSession._hear_report,
    c.RequestStatus: PlatformSession._hear_status,
    c.SetDirection: PlatformSession._hear_direction,
    c.KeepAlive: PlatformSession._hear_sign_of_life,
    c.HangUp: PlatformSession._hear_hang_up,
    c.Reject: PlatformSession._hear_hang_up,
}
