"""A simulated caller's jambonz: all sockets of a call by a plan and a script, measured and judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from callstream_core import events as e
from callstream_core.closing import reason_of
from callstream_core.dialects.jambonz import JambonzProfile as AudioProfile
from callstream_core.errors import Malformed
from callstream_core.jambonz import JambonzProfile as ControlProfile
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import decode_event
from callstream_core.jambonz.running import Phase, Running
from callstream_core.jambonz.values import Verb
from callstream_core.outputs import CloseLink, Transmit
from callstream_trio.ack_meter import AckMeter
from callstream_trio.dial import DialFailed
from callstream_trio.hub import Hub, clock
from callstream_trio.jambonz_call import JambonzCall
from callstream_trio.jambonz_sockets import AudioEnd
from callstream_trio.owner import Said
from callstream_trio.report import ControlReport, Spread
from callstream_trio.script import Action, Reading, SocketDropped
from callstream_trio.simulated import SimulatedCaller
from callstream_trio.sound import UnreadableSound
from callstream_trio.talk import STRIDE, Talk
from callstream_trio.voice import said_format

# Audio sockets of one call, one after the other: each has figures that are kept.
_MAX_TALKS = 100


class JambonzLine:
    """The call's jambonz. It is one of the hub's deadlines: what the caller does, happens at the next one."""

    def __init__(self, hub: Hub, url_profile: ControlProfile, caller: SimulatedCaller) -> None:
        plan = caller.plan
        profile = url_profile.for_call(caller.number)
        self.talks: list[Talk] = []
        self.scheduled: float | None = None
        self._hub = hub
        self._caller = caller
        self._call = JambonzCall(hub, profile, self, dialling=plan.dialling, channel_rate=plan.channel_rate)
        self._acks = AckMeter(profile.ack_timeout)
        self._reading = Reading(plan.script)
        self._soon: list[Action] = []
        self._is_answered = False
        self._is_dropping = False
        self._connections = 0
        self._orders = 0
        self._refusal = ""
        self._close_code: int | None = None

    async def run(self) -> None:
        """Call, and return when no socket is left."""
        await self._call.run()

    # What the call tells

    def note(self, output: h.PlatformOutput, now: float) -> None:
        """Take what jambonz says, hears or does."""
        caller = self._caller
        match output.output if isinstance(output, h.OnLink) else output:
            case Transmit(message=str(message)):
                self._note_said(message, now)
            case CloseLink(code=code):
                self._close_code = code
            case o.Ack() as ack:
                complaint = self._acks.heard(ack, now)
                if complaint:
                    caller.complain(complaint)
                if isinstance(ack.verbs, o.Unusable):
                    caller.complain(f"jambonz cannot use the verbs of an ack: {ack.verbs.reason}")
                else:
                    self._check_verbs(ack.verbs or ())
            case h.Responded() as response:
                self._note_response(response, now)
            case h.Logged(text=text):
                # What crosses the end of the call on its way is no mistake.
                if not self._call.platform.call.is_over:
                    caller.complain(f"jambonz passes over what the application said: {text}")
            case w.ControlClosed():
                self._end(now)
            case order if isinstance(order, o.Order):
                self._orders += 1
                self._check_verbs((order.config,) if isinstance(order, o.Configure) else getattr(order, "verbs", ()))

    def _note_said(self, message: str, now: float) -> None:
        try:
            said = decode_event(message)
        except Malformed as error:
            # jambonz brings back much of what it was told.
            self._caller.complain(f"jambonz was told what it brings back unreadable: {error}")
            return
        if isinstance(said, w.Question):
            self._acks.asked(said, now)
        elif isinstance(said, w.ErrorReported) and not said.is_ours:
            # Bad messages are logged besides.
            self._caller.complain(f"jambonz complains: {said.text}")
        self._reading.begin(now)
        self._caller.opened(now)

    def _note_response(self, response: h.Responded, now: float) -> None:
        if response.status >= 300 and self._caller.ended_by != "caller":
            reason = response.headers.get("X-Reason") or response.reason
            self._caller.fail(self._refusal or f"the call was refused with {response.status}: {reason}")
            self._end(now)
            # Whoever is refused leaves.
            self._do_soon(h.CallerHungUp())

    def _end(self, now: float) -> None:
        self._caller.ended(now, "application" if self._connections else "")

    def _check_verbs(self, verbs: tuple[Verb, ...] | o.Unusable) -> None:
        for verb in () if isinstance(verbs, o.Unusable) else verbs:
            if isinstance(verb, v.Config | v.Dial) and (verb.listen is not None or verb.stream is not None):
                self._caller.fail(f"the simulated jambonz opens no audio for the listen of {verb.word}; use the verb")

    def note_link(self) -> None:
        """Take note that a control socket is open."""
        self._connections += 1
        self._refusal = ""

    def note_refusal(self, error: DialFailed) -> None:
        """Take note that a control socket could not be had."""
        self._refusal = str(error)
        if self._connections:
            self._caller.fail(f"jambonz could not come back: {error}")

    def note_lost(self, code: int | None, reason: str) -> None:
        """Take note that the application closed a control socket, or that it broke."""
        self._acks.forget()
        if self._is_dropping:
            return
        self._close_code = code
        if code is None:
            self._caller.fail(f"the control socket was lost: {reason}")
        elif code != 1000:
            why = reason_of(code, reason)
            self._caller.fail(f"the application closed the control socket with {code}, and jambonz comes back: {why}")

    def note_unanswered(self) -> None:
        """Take note that the application did not answer jambonz's close of a control socket."""
        self._caller.fail("the application did not answer the close of the control socket")

    def note_settled(self) -> None:
        """Look what the script makes of it."""
        now = clock()
        if not self._is_answered and self._call.platform.call.leg.answered_at is not None:
            self._is_answered = True
            self._caller.answered(now)
        self._reading.look(self._running, now, is_answered=self._is_answered)
        due = now if self._soon else self._reading.next_due
        if due is not None and (self.scheduled is None or due < self.scheduled):
            self._hub.schedule(self, due)

    # Audio

    async def make_audio(self, profile: AudioProfile) -> AudioEnd:
        """Return who talks on an audio socket that is about to be opened."""
        plan = self._caller.plan
        if len(self.talks) == _MAX_TALKS:
            raise ValueError(f"{_MAX_TALKS} audio sockets in one call are the most here")
        try:
            voice = await plan.voices.prepare(said_format(profile))
        except UnreadableSound as error:
            raise ValueError(str(error)) from None
        place = self._caller.number * STRIDE
        return Talk(self._hub, profile, voice, place, self, records=plan.record is not None)

    def note_audio(self, end: AudioEnd) -> None:
        """Talk on an audio socket that is open."""
        assert isinstance(end, Talk)
        self.talks.append(end)
        end.begin(clock(), self._caller.until)
        self.note_settled()

    def note_no_audio(self, why: str, _status: int | None) -> None:
        """Take note that an audio socket could not be had."""
        self._caller.fail(f"no audio for a listen: {why}")

    def hear_word(self, said: Said, _now: float) -> None:
        """Take what a talk has heard."""
        if isinstance(said, e.PeerMisbehaved):
            self._caller.complain(f"the application misbehaved: {said.reason}")

    def talk_closed(self) -> None:
        """The call has heard it, too."""

    # What the caller does

    def press(self, digit: str) -> None:
        """Press a key."""
        self._do_soon(h.KeyPressed(digit))

    def hang_up(self) -> None:
        """End the call."""
        self._do_soon(h.CallerHungUp())

    def drop(self) -> None:
        """Cut all sockets."""
        self._call.drop()

    def _do_soon(self, action: Action) -> None:
        self._soon.append(action)
        self.note_settled()

    def handle_deadline(self, now: float) -> None:
        """Do what is due."""
        soon, self._soon = self._soon, []
        for action in [*soon, *self._reading.take(now)]:
            self._do(action)
        self.note_settled()

    def _do(self, action: Action) -> None:
        if isinstance(action, SocketDropped):
            self._is_dropping = True
            self._call.vanish()
            self._is_dropping = False
            return
        if isinstance(action, h.KeyPressed) and self.talks:
            # Told by the audio socket before the verb may end.
            self.talks[-1].press(action.digit)
        elif isinstance(action, h.CallerHungUp) or (self._is_unanswered and isinstance(action, h.FarEndRefused)):
            self._caller.left()
        self._call.happen(action)

    def abandon(self, error: Exception) -> None:
        """Give up after a fault of our own."""
        self._caller.abandon(error)

    @property
    def _is_unanswered(self) -> bool:
        """Whether the callee is the whole call's, and not one that a `dial` calls."""
        return self._call.platform.profile.is_outbound and not self._is_answered

    @property
    def _running(self) -> Running | None:
        """The verb that runs, in full: a `listen` has its audio."""
        running = self._call.platform.call.runner.running
        if running is None or running.phase is not Phase.RUNNING:
            return None
        return running if self._call.has_audio or not isinstance(running.verb, v.Listen) else None

    # What is made of it

    def judge(self) -> dict[str, Any]:
        """Tell the caller what went wrong, and return what else the report should have."""
        caller = self._caller
        if self._connections:
            for complaint in self._acks.missing(clock()):
                caller.fail(complaint)
            if not caller.is_interrupted:
                unfinished = self._reading.unfinished
                if unfinished:
                    caller.fail(f"the script did not come to its end: {unfinished}")
        elif self._refusal:
            caller.fail(self._refusal)
        samples = np.array(self._acks.times)
        control = ControlReport(
            connections=self._connections,
            questions=self._acks.questions,
            orders=self._orders,
            audio_sockets=len(self.talks),
            acks=Spread.of(samples),
            samples=samples,
        )
        return {"close_code": self._close_code, "control": control}
