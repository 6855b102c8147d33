"""The application end of one call: hears events, says commands."""

from __future__ import annotations

from collections import Counter
from typing import Any

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.audio import lower_minus_one, may_have_minus_one
from callstream_core.closing import ABNORMAL, NO_CODE, is_clean, reason_of
from callstream_core.dialect import Capabilities, Codec, Dialect
from callstream_core.early_audio import EarlyAudio
from callstream_core.errors import Malformed, Unsupported
from callstream_core.inquiries import Inquiries
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import Machine, State
from callstream_core.outputs import CloseLink, Output, Transmit
from callstream_core.paced_run import PacedRun
from callstream_core.player import Player
from callstream_core.reply import Reply
from callstream_core.sign_of_life import SignOfLife
from callstream_core.timers import NEVER, Timer, TimerTable
from callstream_core.tracks import Tracks
from callstream_core.wording import Wording


class AppSession:
    """Hears a platform's events and says an application's commands, for one call.

    Every input returns what must happen next, in order. Nothing is raised for what the peer sent; `send` raises
    for mistakes of its caller, and has then changed nothing. A `now` earlier than the last one counts as the last.
    """

    __slots__ = (
        "_alive", "_codec", "_early", "_end", "_initiator", "_machine", "_now", "_player", "_reply", "_sample_size",
        "_timers", "_tracks", "_wording", "counters", "dialect", "limits", "opened", "paced", "settings",
    )  # fmt: skip

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
        self.paced = PacedRun()
        """Packets that leave by the clock alone; a loop may `take` them from here before it calls `handle_timeout`."""
        self._codec: Codec = dialect.codec(profile)
        self._wording = Wording(dialect.name, self._codec, emulates=self.settings.emulates)
        self._machine = Machine(dialect.rows[e.Side.APP])
        self._timers = TimerTable()
        self._now = float("-inf")
        self._player: Player | None = None
        self._reply: Reply | None = None
        self._tracks: Tracks | None = None
        # Bytes of a sample, where messages of whole samples are audio as they are; else 0.
        self._sample_size = 0
        self._alive = SignOfLife(self._timers)
        self._early = EarlyAudio(self.limits, self.counters)
        self._initiator: e.Side | None = None
        self._end = ""
        if now is not None:
            self._timers.set(Timer.OPENING, now + (self.capabilities.quiet_opening or self.limits.opening_timeout))

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
    def direction(self) -> e.Direction:
        """Which media flows, as far as we have chosen it."""
        return self._wording.direction

    @property
    def room(self) -> int:
        """Bytes of audio that `SendAudio` would take now."""
        reply = self._up_to_date
        return reply.room if reply and c.SendAudio in self._machine.says else 0

    @property
    def pending(self) -> int:
        """Bytes of audio that were accepted and not sent yet."""
        return self._reply.pending - self.paced.gone if self._reply else 0

    @property
    def is_flow_paused(self) -> bool:
        """True while the platform's queue is full."""
        return self._reply is not None and self._reply.flow.is_paused

    @property
    def latency_debt(self) -> float:
        """Seconds by which the platform's playout has fallen behind its clock since it last ran dry."""
        reply = self._up_to_date
        return reply.ledger.debt if reply else 0.0

    def heard(self, now: float) -> float:
        """Return the seconds of our audio that the caller has heard."""
        reply = self._up_to_date
        return reply.heard(now) if reply else 0.0

    def backlog(self, now: float) -> float:
        """Return the seconds of audio between us and the caller's ear: waiting here, or sent and not heard."""
        reply = self._up_to_date
        return reply.backlog(now) if reply else 0.0

    @property
    def _up_to_date(self) -> Reply | None:
        """The reply stream, up to date."""
        if self._reply is not None:
            self._reply.recall()
            self._reply.lend()
        return self._reply

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        due = self.paced.due
        return due if due < NEVER else self._timers.earliest

    # What the platform says

    def receive(self, message: str | bytes, now: float) -> list[Output]:
        """Take one message from the platform."""
        size = self._sample_size
        if size and type(message) is bytes and (size == 1 or (message and not len(message) % size)):
            return [e.AudioReceived(message)]
        now = self._begin_input(now)
        out: list[Output] = []
        if self.state is State.OPENING and isinstance(message, bytes) and self.capabilities.is_raw:
            self._early.keep(message)
        elif self.state is not State.CLOSED:
            try:
                if len(message) > self.limits.max_text and isinstance(message, str):
                    raise Malformed(f"a text of {len(message)} characters; {self.limits.max_text} are the most")
                events = self._codec.decode_event(message)
            except Malformed as error:
                self._misbehaved(str(error), out)
            else:
                for event in events:
                    self._hear(event, now, out)
                if isinstance(message, bytes):
                    self._settle_hearing()
        return self._end_input(out)

    def _begin_input(self, now: float) -> float:
        """Have the playout up to date, and the clock never go back."""
        if self._reply is not None:
            self._reply.recall()
        if now > self._now:
            self._now = now
        return self._now

    def _end_input(self, out: list[Output]) -> list[Output]:
        if self._reply is not None:
            self._reply.lend()
        return out

    def _hear(self, event: e.Event, now: float, out: list[Output]) -> None:
        if self.state is State.CLOSED:
            return
        kind = type(event)
        if kind is e.MessageIgnored:
            self.counters["messages_ignored"] += 1
            out.append(event)
        elif isinstance(event, e.Tolerated):
            self.counters[event.name] += 1
            out.append(event)
        elif not self._machine.hear(event):
            self._misbehaved(f"{kind.__name__} while the session is {self.state.value}", out)
        elif kind in Player.heard and self._player:
            Player.heard[kind](self._player, event, now, out)
            self._hang_up_if_finished(now, out)
        elif self._tracks and kind in Tracks.heard:
            Tracks.heard[kind](self._tracks, event, now, out)
            if self.state is State.OPEN and self._timers.is_set(Timer.CLOSING):
                # Everybody had left, and now somebody else has come.
                self._initiator = None
                self._timers.cancel(Timer.CLOSING)
        elif isinstance(event, e.SessionOpened):
            self._open(event, now, out)
        else:
            out.append(event)
            if kind is e.SessionEnding:
                self._expect_close(e.Side.PLATFORM, now, out)
            elif kind is e.PlatformFailed and self._player:
                self._player.adopt(self.capabilities, now, out)
                self._hang_up_if_finished(now, out)

    def _misbehaved(self, reason: str, out: list[Output]) -> None:
        self.counters["misbehaved"] += 1
        out.append(e.PeerMisbehaved(reason))
        if self.counters["misbehaved"] > self.limits.max_misbehaviour:
            self._close(1002, "too many broken messages", out)

    def _open(self, event: e.SessionOpened, now: float, out: list[Output]) -> None:
        self.opened = event
        self._timers.cancel(Timer.OPENING)
        out.append(event)
        if event.reply_format is not None:
            self._reply = Reply(
                event.reply_format, self.capabilities, self.limits, self.settings, self._timers, self.paced
            )
            self._reply.pump(now, [])
            self._player = Player(self._reply, self._wording, Inquiries(self.limits, self._timers), self.counters)
        if self.capabilities.has_tracks:
            self._tracks = Tracks(self.capabilities, self.counters)
        out.extend(map(e.AudioReceived, self._early.take()))
        if self.capabilities.unusable is not None:
            self._decline(self.capabilities.unusable, now, out)
        elif self.state is not State.RINGING:
            self._begin(now)
        elif self.limits.decision_timeout is not None:
            self._timers.set(Timer.DECISION, now + self.limits.decision_timeout)

    def _begin(self, now: float) -> None:
        """Let media flow."""
        self._timers.cancel(Timer.DECISION)
        self._settle_hearing()
        self._alive.begin(self.capabilities.heartbeat, now)

    def _settle_hearing(self) -> None:
        can = self.capabilities
        self._sample_size = can.sample_size if can.is_raw and e.AudioReceived in self._machine.hears else 0

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[Output]:
        """Take the end of the WebSocket: its close code, 1005 for a close without one, None for a lost connection."""
        now = self._begin_input(now)
        out: list[Output] = []
        if self.state is State.CLOSED:
            return out
        if code == ABNORMAL:
            code = None
        if code is not None:
            out.append(CloseLink(None if code == NO_CODE else code))
        if self.state is State.RINGING and is_clean(code):
            self._end = "the caller gave up before the answer"
        is_expected = is_clean(code) or self.state is State.ENDING
        self._finish(code, reason, self._initiator or e.Side.PLATFORM, is_expected, out)
        return out

    def fail(self, code: int, reason: str, now: float) -> list[Output]:
        """End the session because of something that only the link can see; say `code` to the peer."""
        self._begin_input(now)
        out: list[Output] = []
        if self.state is not State.CLOSED:
            self._close(code, reason, out)
        return out

    # What the application says

    def send(self, command: c.Command, now: float) -> list[Output]:
        """Say one command. Raise `LocalProtocolError` where that is a mistake; nothing is changed then."""
        if now < self._now:
            now = self._now
        else:
            self._now = now
        kind = type(command)
        if kind not in self._machine.says:
            if self.opened is not None and not self._machine.knows(kind):
                self._wording.advise(command)
            self._machine.say(command)
        reply = self._reply
        if kind is c.SendAudio and reply is not None:
            # The common case: whole frames, nothing in their way.
            data = command.data  # type: ignore[union-attr]
            size = len(data)
            if 0 < size <= reply.credit and not size % reply.frame_size and size <= reply.max_message:
                reply.pass_on(size, now)
                if reply.avoids_minus_one and 0xFF in data and may_have_minus_one(data):
                    data = lower_minus_one(data)
                return [Transmit(data)]
        self._begin_input(now)
        out: list[Output] = []
        if kind in Player.said and not (kind is c.ClearPlayout and self.capabilities.plays_clips):
            if self._player is None:
                raise Unsupported(
                    f"{self.dialect.name} plays whole clips on this call: use PlayClip"
                    if self.capabilities.plays_clips
                    else f"{self.dialect.name} only listens: nothing can be played to the caller"
                )
            Player.said[kind](self._player, command, now, out)
        elif isinstance(command, c.HangUp | c.Reject):
            self._say_end(command, now, out)
        else:
            out.extend(map(Transmit, self._wording.say(command)))
            self._machine.say(command)
            if kind is c.Answer:
                self._begin(now)
        if out and isinstance(out[0], Transmit):
            self._alive.spoke_at = now
        self._hang_up_if_finished(now, out)
        return self._end_input(out)

    def _say_end(self, command: c.HangUp | c.Reject, now: float, out: list[Output]) -> None:
        is_now = isinstance(command, c.Reject) or command.when is c.When.NOW
        if self.state is State.RINGING and isinstance(command, c.Reject):
            self._end = f"rejected: {command.reason}" if command.reason else "rejected"
        if is_now or self._player is None or self.state is State.RINGING:
            self._hang_up(command, now, out)
        elif self.state is State.OPEN:
            self._player.finish(now, out)
            self._machine.move(State.FINISHING)

    def _hang_up(self, command: c.HangUp | c.Reject, now: float, out: list[Output]) -> None:
        messages = self._wording.say(command)
        self._machine.say(command)
        self._settle_hearing()
        self._expect_close(e.Side.APP, now, out)
        if messages:
            out.extend(map(Transmit, messages))
        else:
            # The close itself is the hang-up.
            self._close(1000, "", out)

    def _decline(self, reason: str, now: float, out: list[Output]) -> None:
        """Reject the call in the application's stead."""
        self._end = reason
        out.append(e.SessionEnding(reason))
        self._hang_up(c.Reject(reason), now, out)

    def _expect_close(self, initiator: e.Side, now: float, out: list[Output]) -> None:
        self._initiator = initiator
        if self._player:
            self._player.halt(now, out)
        self._timers.clear()
        self._timers.set(Timer.CLOSING, now + self.limits.close_timeout)

    def _hang_up_if_finished(self, now: float, out: list[Output]) -> None:
        if self.state is State.FINISHING and self._reply and self._reply.is_finished:
            self._hang_up(c.HangUp(), now, out)

    # Time

    def handle_timeout(self, now: float) -> list[Output]:
        """Do what is due at `now`; early, late and double calls do no harm."""
        now = self._begin_input(now)
        out: list[Output] = []
        for timer in self._timers.take_due(now):
            if timer is Timer.OPENING and self.capabilities.quiet_opening is not None:
                self.counters["quiet_opening"] += 1
                out.append(e.Tolerated("quiet_opening", f"silent for {self.capabilities.quiet_opening:g} s"))
            elif timer is Timer.OPENING:
                out.append(e.PeerMisbehaved(f"no opening message within {self.limits.opening_timeout:g} s"))
                self._close(1002, "no opening message", out)
            elif timer is Timer.CLOSING:
                out.append(CloseLink(1000))
                initiator = self._initiator or e.Side.APP
                self._finish(None, "the platform did not close when the call had ended", initiator, False, out)
            elif timer is Timer.DECISION:
                self._decline(f"not answered within {self.limits.decision_timeout:g} s", now, out)
            elif timer is Timer.HEARTBEAT:
                if self._alive.is_due(now, self._reply.ledger.sent_at if self._reply else self._alive.spoke_at):
                    out.extend(map(Transmit, self._wording.say(c.KeepAlive())))
            elif self._player and self.state is not State.CLOSED:
                Player.due[timer](self._player, now, out)
        self._hang_up_if_finished(now, out)
        return self._end_input(out)

    # The end

    def _close(self, code: int, reason: str, out: list[Output]) -> None:
        out.append(CloseLink(code, reason))
        self._finish(code, reason, e.Side.APP, code == 1000, out)

    def _finish(self, code: int | None, reason: str, initiator: e.Side, clean: bool, out: list[Output]) -> None:
        if self._player:
            self._player.close(self._now, out)
        if self._tracks:
            self._tracks.close(reason_of(code, reason), out)
        self._early.take()
        self._timers.clear()
        self._machine.move(State.CLOSED)
        self._settle_hearing()
        out.append(
            e.SessionClosed(
                initiator=initiator,
                code=code,
                reason=reason or self._end or reason_of(code),
                is_clean=clean,
                call_continues=self.capabilities.call_continues,
            )
        )
