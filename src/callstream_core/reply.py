"""The reply stream of one call: what the application plays, from acceptance to the caller's ear."""

from __future__ import annotations

from callstream_core import events as e
from callstream_core.audio import AudioFormat
from callstream_core.dialect import Capabilities, Clock, Support
from callstream_core.errors import LocalProtocolError, PendingAudioFull
from callstream_core.framer import Framer
from callstream_core.ledger import Clearing
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.marks import Ordered, Questions
from callstream_core.outbox import Outbox
from callstream_core.outputs import Output
from callstream_core.paced_run import PacedRun
from callstream_core.senders import AheadSender, PacedSender, Parts, Sender
from callstream_core.timers import Timer, TimerTable


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
        "_limits",
        "_outbox",
        "_run",
        "_sender",
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
        self.credit = 0
        sender = PacedSender if capabilities.clock is Clock.APP else AheadSender
        self._sender: Sender = sender(
            Parts(
                audio=self.audio,
                capabilities=capabilities,
                outbox=self._outbox,
                questions=self.questions,
                timers=self._timers,
                settings=self._settings,
                limits=self._limits,
                run=self._run,
            )
        )
        self.ledger, self.flow = self._sender.ledger, self._sender.flow
        self.avoids_minus_one, self.max_message = self._sender.avoids_minus_one, self._sender.max_message

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
        self.ledger.accepted = self.ledger.sent + self._sender.waiting
        self._sender.resume(now)
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

    def heard(self, now: float) -> float:
        """Return the seconds that were heard: no further than the first mark that the platform has not answered."""
        return self._heard_before + self.ledger.heard_to(self._position(now)) / self.ledger.rate

    def _position(self, now: float) -> int:
        return max(self.questions.bound(self.ledger.position(now)), self.ledger.acknowledged)

    def backlog(self, now: float) -> float:
        """Return the seconds of audio that wait here, or were sent and are not heard."""
        return self.ledger.backlog(now) + self._sender.waiting / self.ledger.rate

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
        before = self._sender.waiting
        self._sender.add(audio, now)
        self.ledger.accepted += self._sender.waiting - before

    def end_utterance(self, now: float, out: list[Output]) -> None:
        """Pad the last frame with silence, and begin to count anew what is heard."""
        self._enqueue(self._framer.finish(self.audio.silence(1)), now)
        self._enqueue(self.filling(), now)
        self._filled_to = self.ledger.accepted
        self.ledger.end_utterance(self._sender.waiting)
        self.pump(now, out)

    def filling(self) -> bytes:
        """Return the silence that gets the platform to play everything before it; none where nothing is held back."""
        can, rate = self.capabilities, self.ledger.rate
        if not can.holds_back or self.ledger.accepted == self._filled_to:
            return b""
        seconds = max(can.holds_back, can.holds_first - (self.ledger.sent + self._sender.waiting) / rate)
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
            self._sender.resume(now)
            self.pump(now, out)
            self.questions.watch(self.ledger)

    def clear(self, is_told: bool, now: float, out: list[Output]) -> Clearing:
        """Drop everything unheard, answer every mark and, where that is possible now, end a pause.

        `is_told`: the session tells the platform, whose queue is empty then.
        """
        leftover = self._sender.units(self._framer.leftover)
        self.ledger.accepted += leftover
        clearing = self.ledger.clear(self._sender.waiting + leftover, self._position(now), now)
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
        self._sender.resume(now)
        out.append(e.FlowResumed())
        return True

    def mark_reached(self, event: e.MarkReached | e.BufferingCompleted, now: float, out: list[Output]) -> bool:
        """Answer the oldest open mark of this name; False if nobody asked."""
        position = self.questions.reached(event, out)
        self._acknowledge(position, now, out)
        return position is not None

    def drained(self, now: float, out: list[Output]) -> None:
        """Take the platform's word that it has nothing left to play."""
        position = self.questions.drained(self.ledger.position(now), out)
        if position is not None:
            self.ledger.passed(position, now)
            self.pump(now, out)
            self.questions.watch(self.ledger)

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
        return self._sender.of_frames(report.queue_length)

    # Sending

    def pump(self, now: float, out: list[Output]) -> None:
        """Send what may be sent now, and set the timer for the rest."""
        outbox = self._outbox
        self.credit = 0
        if self._is_blocked:
            return
        is_withheld = self.is_paused and self.capabilities.pause is Support.EMULATED
        if outbox and not self.flow.is_paused and not is_withheld:
            self._sender.send(now, out)
        if not outbox:
            self._timers.cancel(Timer.PUMP)
            if not self._framer.leftover and not is_withheld:
                # Whole frames only: the fast path sends what it is given.
                self.credit = self._sender.credit(now)
        if outbox or self.flow.is_paused or self.ledger.backlog(now) > 0:
            self._watch_status(now)

    def lend(self) -> None:
        """Let packets leave by the clock alone, where that is all there is to do: until `recall`."""
        self._sender.lend()

    def recall(self) -> None:
        """Count what has left since `lend`."""
        self._sender.recall()

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
