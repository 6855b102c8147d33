"""The reply stream of one call: what the application plays, from acceptance to the caller's ear."""

from __future__ import annotations

from callstream_core import events as e
from callstream_core.audio import AudioFormat, lower_minus_one
from callstream_core.dialect import Capabilities, Clock, Support
from callstream_core.errors import LocalProtocolError, PendingAudioFull
from callstream_core.flow import Flow
from callstream_core.framer import Framer
from callstream_core.ledger import Clearing, Ledger
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.marks import Ordered, Questions
from callstream_core.outbox import Outbox
from callstream_core.outputs import Output, Transmit
from callstream_core.paced_run import PacedRun
from callstream_core.pacer import Pacer
from callstream_core.timers import NEVER, Timer, TimerTable

# Audio is sent again when this part of the send-ahead, or this many seconds, was played: not for every frame.
_REFILL = 0.25
# Where floats leave a packet due at the present moment: a handled timeout must move.
_SOON = 1e-3


class Reply:
    """Holds audio until the platform may have it, and knows what became of it.

    Methods take `now` and append what must happen to `out`. While `credit` lasts, whole frames may be sent
    with `pass_on` alone: nothing waits, nothing is held, and there is room.
    """

    __slots__ = (
        "_filled_to",
        "_framer",
        "_heard_before",
        "_is_blocked",
        "_is_cut",
        "_limits",
        "_outbox",
        "_pacer",
        "_piece",
        "_run",
        "_settings",
        "_timers",
        "audio",
        "avoids_minus_one",
        "capabilities",
        "credit",
        "flow",
        "frame_size",
        "is_paused",
        "ledger",
        "max_message",
        "questions",
    )

    def __init__(
        self,
        audio: AudioFormat,
        capabilities: Capabilities,
        *,
        limits: Limits,
        settings: PlayoutSettings,
        timers: TimerTable,
        run: PacedRun,
    ) -> None:
        self.audio = audio
        self.frame_size = audio.frame_size or 1
        self.is_paused = False
        self._is_blocked = False
        self._limits = limits
        self._settings = settings
        self._timers = timers
        self._run = run
        self._framer = Framer(self.frame_size)
        self._outbox = Outbox(max_size=limits.max_pending_audio, max_items=limits.max_pending_items)
        self.questions = Questions(slack=limits.acknowledgement_slack, tick=audio.ptime, timers=timers)
        self._filled_to = 0
        self._heard_before = 0.0
        self._set_capabilities(capabilities)

    def _set_capabilities(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self.avoids_minus_one = capabilities.mistakes_minus_one
        self.credit = 0
        ptime, frame_size = self.audio.ptime, self.frame_size
        self.max_message = max(capabilities.max_message // frame_size * frame_size, frame_size)
        self._pacer: Pacer | None = None
        if capabilities.clock is Clock.APP:
            self._pacer = Pacer(ptime, max_burst_packets=self._limits.max_burst_packets)
        # Paced, audio leaves frame by frame, however it came.
        self._is_cut = self._pacer is not None and not self.audio.is_packets
        self._piece = frame_size if self._is_cut else self.max_message
        self.ledger = Ledger(1 / ptime if self._pacer else frame_size / ptime)
        self.flow = Flow(
            send_ahead=self._settings.send_ahead,
            max_queue=capabilities.max_queue,
            ptime=ptime,
            rate=self.ledger.rate,
        )

    def adopt(self, capabilities: Capabilities, now: float, out: list[Output]) -> None:
        """Work by these capabilities from now on: the platform turned out to do less than it seemed to."""
        self._heard_before = self.heard(now)
        backlog = self.ledger.backlog(now)
        self._set_capabilities(capabilities)
        # What the platform has still to play counts on, in the new units.
        self.ledger.send(round(backlog * self.ledger.rate), now)
        self.ledger.dry_at = now + backlog
        self.questions.emulate(self.ledger.sent)
        for command in self._outbox.commands:
            command.emulate()
        self.ledger.accepted = self.ledger.sent + self._units
        if self._pacer is not None:
            self._pacer.begin(now)
        self.pump(now, out)
        self.questions.watch(self.ledger)

    # Read-outs

    @property
    def pending(self) -> int:
        """Bytes of whole frames that wait here."""
        return self._outbox.size

    @property
    def room(self) -> int:
        """Bytes of audio that would be accepted now."""
        return self._outbox.room(is_begun=self._framer.leftover > 0)

    @property
    def is_finished(self) -> bool:
        """True once everything was heard that `finish` waited for."""
        return self.questions.is_finished

    @property
    def is_certain(self) -> bool:
        """True when the platform itself has told what became of everything sent."""
        return self.ledger.is_settled and not self.questions

    @property
    def _units(self) -> int:
        """What waits here, in the ledger's units."""
        return self._packets if self._pacer else self._outbox.size

    @property
    def _packets(self) -> int:
        """How many messages wait here, where each has a turn of its own."""
        return self._outbox.pieces if self.audio.is_packets else self._outbox.size // self.frame_size

    def heard(self, now: float) -> float:
        """Return the seconds that were heard: no further than the first mark that the platform has not answered."""
        return self._heard_before + self.ledger.heard_to(self._position(now)) / self.ledger.rate

    def _position(self, now: float) -> int:
        return max(self.questions.bound(self.ledger.position(now)), self.ledger.acknowledged)

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
        if self.audio.is_packets and len(data) > self.max_message:
            raise LocalProtocolError(f"a packet of {len(data)} bytes; {self.max_message} are the most in one message")
        if len(data) > self.room:
            raise PendingAudioFull(
                f"{self.pending} bytes in {len(self._outbox)} pieces wait to be sent already; "
                "send more when some of it has been played"
            )
        self._enqueue(self._framer.feed(data), now)
        self.pump(now, out)

    def _enqueue(self, audio: bytes, now: float) -> None:
        if not audio:
            return
        if self._pacer is not None and not self._outbox.pieces:
            self._pacer.begin(now)
        before = self._units
        self._outbox.add_audio(audio, joins=self._is_cut)
        self.ledger.accepted += self._units - before

    def end_utterance(self, now: float, out: list[Output]) -> None:
        """Pad the last frame with silence, and begin to count anew what is heard."""
        self._enqueue(self._framer.finish(self.audio.silence(1)), now)
        self._enqueue(self.filling(), now)
        self._filled_to = self.ledger.accepted
        self.ledger.end_utterance(self._units)
        self.pump(now, out)

    def filling(self) -> bytes:
        """Return the silence that gets the platform to play everything before it; none where nothing is held back."""
        can, rate = self.capabilities, self.ledger.rate
        if not can.holds_back or self.ledger.accepted == self._filled_to:
            return b""
        seconds = max(can.holds_back, can.holds_first - (self.ledger.sent + self._units) / rate)
        return self.audio.silent_frames(seconds)

    def takes_mark(self, most: int | None) -> bool:
        """Tell whether one more would not be above the `most`."""
        return most is None or self._open_marks < most

    @property
    def _open_marks(self) -> int:
        return len(self.questions) + len(self._outbox) - self._outbox.pieces

    def check_place(self) -> None:
        """Raise `LocalProtocolError` where one more command would be too many."""
        if self._outbox.is_full or not all(map(self.takes_mark, (self._limits.max_marks, self.capabilities.max_marks))):
            raise LocalProtocolError(f"{self._open_marks} marks are open; wait for some of them")

    def place(self, ordered: Ordered, now: float, out: list[Output]) -> None:
        """Send a command when all audio before it was sent."""
        self._outbox.add(ordered)
        self.pump(now, out)

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
        self._timers.cancel(Timer.PUMP)
        # A pause of our own holds back what is not sent; what is sent plays on.
        if self.capabilities.pause is not Support.EMULATED or self._is_blocked:
            self.ledger.hold(now)
            self.questions.watch(self.ledger)

    def _release(self, now: float, out: list[Output]) -> None:
        if not self.is_paused and not self._is_blocked:
            self.ledger.release(now)
            if self._pacer is not None:
                self._pacer.resume(now)
            self.pump(now, out)
            self.questions.watch(self.ledger)

    def clear(self, is_told: bool, now: float, out: list[Output]) -> Clearing:
        """Drop everything unheard, answer every mark and, where that is possible now, end a pause.

        `is_told`: the session tells the platform, whose queue is empty then.
        """
        leftover = 1 if self._pacer and self._framer.leftover else self._framer.leftover
        self.ledger.accepted += leftover
        clearing = self.ledger.clear(self._units + leftover, self._position(now), now)
        self._framer.take()
        self._filled_to = self.ledger.accepted
        told = is_told and self.capabilities.answers_cleared
        for report in self.questions.clear(self._outbox.clear(), self.ledger, now, out, owes_answers=told):
            self._outbox.add(report)
        self.is_paused = self.is_paused and self._is_blocked
        if self._is_blocked:
            self.ledger.hold(now)
        if is_told:
            self._resume_flow(now, out)
        self.pump(now, out)
        self.questions.watch(self.ledger)
        return clearing

    def forget_marks(self, out: list[Output]) -> None:
        """Answer every mark; the audio plays on."""
        self.questions.clear_marks(self._outbox.take_marks(), out, owes_answers=False)
        self.questions.watch(self.ledger)

    def cleared(self, clearing: Clearing, *, queued: int | None = None) -> e.PlayoutCleared:
        """Return the answer to a clear: by what the platform had `queued` when it came, or else as we know it."""
        if queued is not None:
            self.ledger.settle(clearing, clearing.sent - queued)
        is_known = queued is not None or clearing.acknowledged == clearing.sent
        return e.PlayoutCleared(heard=clearing.heard, discarded=clearing.discarded, is_estimated=not is_known)

    def finish(self, question: Ordered, now: float, out: list[Output]) -> None:
        """End the utterance; `is_finished` when all of it was heard, by the answer to `question`."""
        self.end_utterance(now, out)
        if not self._outbox and self.ledger.is_settled:
            self.questions.is_finished = True
        else:
            self.place(question, now, out)

    def close(self, now: float, out: list[Output]) -> None:
        """Answer every open mark: the session is over."""
        self.questions.clear(self._outbox.clear(), self.ledger, now, out)

    # What the platform says

    def stop_flow(self, now: float, out: list[Output]) -> None:
        """Obey the platform's stop."""
        if not self.flow.is_paused:
            self.flow.is_paused = True
            self.credit = 0
            self._timers.cancel(Timer.PUMP)
            self._watch_status(now)
            out.append(e.FlowPaused())

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
            self._pacer.resume(now)
        out.append(e.FlowResumed())
        return True

    def mark_reached(self, event: e.MarkReached | e.BufferingCompleted, now: float, out: list[Output]) -> bool:
        """Answer the oldest open mark of this name; False if nobody asked."""
        position = self.questions.reached(event, out)
        self._acknowledge(position, now, out)
        return position is not None

    def drained(self, now: float, out: list[Output]) -> None:
        """Take the platform's word that it has nothing left to play."""
        self._acknowledge(self.questions.drained(self.ledger.position(now), out), now, out)

    def _acknowledge(self, position: int | None, now: float, out: list[Output]) -> None:
        if position is not None:
            self.ledger.acknowledge(position, now)
            self.pump(now, out)
            self.questions.watch(self.ledger)

    def correct(self, report: e.StatusReported, sent: int, now: float, out: list[Output]) -> None:
        """Set the ledger by the platform's queue level, which counts what was sent up to `sent`."""
        if not report.is_full:
            self._resume_flow(now, out)
        self._acknowledge(sent - self.queued_units(report), now, out)

    def queued_units(self, report: e.StatusReported) -> int:
        """Return the platform's queue level in the ledger's units."""
        return report.queue_length * (1 if self._pacer else self.frame_size)

    # Sending

    def pump(self, now: float, out: list[Output]) -> None:
        """Send what may be sent now, and set the timer for the rest."""
        outbox = self._outbox
        self.credit = 0
        if self._is_blocked:
            return
        is_withheld = self.is_paused and self.capabilities.pause is Support.EMULATED
        if outbox and not self.flow.is_paused and not is_withheld:
            if self._pacer is None:
                self._send_ahead(now, out)
            else:
                self._send_due(self._pacer, now, out)
        if not outbox:
            self._timers.cancel(Timer.PUMP)
            if self._pacer is None and not self._framer.leftover and not is_withheld:
                # Whole frames only: the fast path sends what it is given.
                self.credit = self._room(now)
        if outbox or self.flow.is_paused or self.ledger.backlog(now) > 0:
            self._watch_status(now)

    def _room(self, now: float) -> int:
        return self.flow.room(self.ledger.unheard(now))

    def _send_ahead(self, now: float, out: list[Output]) -> None:
        room = self._room(now)
        while waiting := self._next_size(now, out):
            piece = min(waiting, self._piece)
            size = min(piece, room // self.frame_size * self.frame_size)
            if size:
                self._transmit(size, size, now, out)
                room -= size
            if size < piece:
                self._watch_room(now)
                return

    def _watch_room(self, now: float) -> None:
        ahead = self.flow.max_ahead / self.ledger.rate
        if not self.ledger.is_held:
            wait = self.ledger.backlog(now) - ahead + min(ahead * _REFILL, _REFILL)
            self._timers.set(Timer.PUMP, now + max(wait, self.audio.ptime))

    def _send_due(self, pacer: Pacer, now: float, out: list[Output]) -> None:
        count = pacer.take(now, self._packets) if self._outbox.pieces else 0
        while waiting := self._next_size(now, out):
            if not count:
                self._timers.set(Timer.PUMP, pacer.next_due if pacer.next_due > now else now + _SOON)
                return
            count -= 1
            self._transmit(min(waiting, self._piece), 1, now, out)

    def lend(self) -> None:
        """Let packets leave by the clock alone, while that is all there is to do: until `recall`."""
        pacer, due = self._pacer, self._timers.pump
        if pacer is None or due != pacer.next_due or pacer.is_resting or self.avoids_minus_one:
            return
        # Not the last packet of a piece: what comes behind it is for us to say. Nothing else may be due before them.
        most = min((self._outbox.next_size() - 1) // self._piece, self._timers.before_others(due, pacer.ptime))
        if most > 0:
            self._run.begin(
                *self._outbox.lend(),
                size=self._piece,
                most=most,
                due=due,
                ptime=pacer.ptime,
                max_burst=pacer.max_burst_packets,
                dry_at=self.ledger.dry_at,
            )

    def recall(self) -> None:
        """Count what has left since `lend`."""
        run, pacer = self._run, self._pacer
        if run.due < NEVER and pacer is not None:
            due, count = run.due, run.end()
            if count:
                self._outbox.skip(count * self._piece)
                self.ledger.catch_up(count, due - pacer.ptime, run.dry_at)
                pacer.skip(count, due)
                self._timers.set(Timer.PUMP, due)

    def _next_size(self, now: float, out: list[Output]) -> int:
        """Say the commands whose turn it is; return the size of the audio behind them."""
        while (command := self._outbox.next_command()) is not None:
            out.extend(map(Transmit, command.messages))
            if command.wants_answer:
                self.questions.ask(command, self.ledger, now)
        return self._outbox.next_size()

    def _transmit(self, size: int, units: int, now: float, out: list[Output]) -> None:
        self.ledger.send(units, now)
        audio = self._outbox.take_audio(size)
        out.append(Transmit(lower_minus_one(audio) if self.avoids_minus_one else audio))

    def _watch_status(self, now: float) -> None:
        """Have the queue level asked for in a while."""
        interval = self._settings.status_interval
        if interval is not None and self.capabilities.has_status and not self._timers.is_set(Timer.SYNC):
            self._timers.set(Timer.SYNC, now + interval)

    def needs_status(self, now: float) -> bool:
        """Tell whether the platform's queue level would be news, and if so have it asked for again."""
        is_needed = self.flow.is_paused or not self.ledger.is_settled
        if is_needed or self._outbox:
            self._watch_status(now)
        return is_needed
