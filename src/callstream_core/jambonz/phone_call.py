"""The phone call behind simulated control sockets: its legs, its statuses, its end."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from callstream_core.events import Side
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import parts
from callstream_core.jambonz import requestor as r
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.confirm_call import ConfirmCall
from callstream_core.jambonz.hook_delay import HookDelay
from callstream_core.jambonz.profile import JambonzProfile, Leg, caller_leg, offer_data, promoted
from callstream_core.jambonz.requestor import LinkState, Requestor
from callstream_core.jambonz.values import Object, Verb
from callstream_core.jambonz.verb_runner import VerbRunner

# What a call may run that is only there to be recorded.
RECORDING_VERBS = frozenset({"answer", "config", "gather", "transcribe", "listen", "tag", "hangup", "sip:decline"})
FarEndHappening = h.FarEndRang | h.FarEndAnswered | h.FarEndRefused | h.FarEndHungUp | h.FarEndPromoted


class PlatformState(enum.Enum):
    """Where a simulated call stands."""

    IDLE = "idle"
    OFFERING = "offering"
    """The application's first ack is missing."""
    ATTACHING = "attaching"
    """It came; commands are lost until the first verb starts."""
    RUNNING = "running"
    ENDING = "ending"
    """The call is over; the last hook's ack, or the last word, is missing."""
    CLOSED = "closed"


class PhoneCall:
    """What jambonz knows of the call and does with it; the sockets are its voice."""

    def __init__(self, profile: JambonzProfile) -> None:
        self.profile = profile
        self.state = PlatformState.IDLE
        self.leg = caller_leg(profile)
        self.now = float("-inf")
        self.out: list[r.Said] = []
        """What is to be handed out, or digested."""
        self.links: list[Requestor] = []
        self.runner = VerbRunner(self)
        if profile.participants is not None:
            self.runner.allowed = RECORDING_VERBS
        self.confirmation: ConfirmCall | None = None
        """The verbs that the dialled party hears first."""
        self.delay = HookDelay(self)
        """What is played while the application takes its time."""
        self.attach_at: float | None = None
        """When the first verb starts, and commands are listened to."""
        self._notifies = False
        self._numbers = 0
        self._promotions = 0
        self.add_link(profile.target)

    def add_link(self, url: str) -> None:
        """Use another URL from now on."""
        self.links.append(Requestor(len(self.links), url, self.profile, self._number))

    def _number(self) -> str:
        self._numbers += 1
        return f"m{self._numbers:021d}"

    @property
    def is_over(self) -> bool:
        """Whether the phone call has ended."""
        return self.state in (PlatformState.ENDING, PlatformState.CLOSED)

    @property
    def is_left(self) -> bool:
        """Whether the application said that it has no more to say."""
        return self.links[-1].state is LinkState.DEAD

    @property
    def running(self) -> Verb | None:
        """The verb that runs."""
        return self.runner.running.verb if self.runner.running else None

    @property
    def runners(self) -> tuple[VerbRunner, ...]:
        """Whatever runs verbs now: the call, and the dialled party's leg before it is joined to it."""
        return (self.runner,) if self.confirmation is None else (self.runner, self.confirmation.runner)

    @property
    def next_timeout(self) -> float | None:
        """When `handle_timeout` is due."""
        found = [self.delay.next_timeout, *(runner.next_timeout for runner in self.runners)]
        return min((at for at in found if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for runner in self.runners:
            runner.handle_timeout(now)
        verbs = self.delay.handle_timeout(now)
        if verbs:
            self.runner.interrupt(verbs, now)
        elif verbs is not None:
            self.hang_up(now)

    def announce(self) -> None:
        """Announce a dialled leg that has become a call of its own."""
        self.leg.move("in-progress", 200)
        self.leg.answered_at = self.now
        data = self.leg.data(self.profile) | {"parent_call_info": self.profile.parent}
        self.links[0].say(w.LegPromoted, data, self.now, self.out)

    def offer(self) -> None:
        """Offer the call to the application."""
        self.links[0].say(w.SessionOffered, offer_data(self.profile, self.leg), self.now, self.out)

    # What happens to the legs

    def lose_caller(self, stimulus: h.CallerHungUp) -> None:
        """Note that the caller has gone."""
        if self.is_over:
            return
        self.leg.terminated_by = "caller"
        if self.leg.answered_at is not None:
            self._end_answered(dict(stimulus.headers) or None)
            return
        self.leg.move("no-answer", 487)
        if not self.profile.is_outbound:
            self.put(h.Responded(status=487, reason=self.leg.sip_reason))
        # Before the first ack nothing is said of a call that came in.
        if self.state is PlatformState.RUNNING or self.profile.is_outbound:
            self.tell_status(self.leg)
            self.wind_up()

    def follow_far_end(self, stimulus: FarEndHappening) -> None:
        """Note what the party that was called does."""
        far, now = self.runner.far, self.now
        if self.profile.is_outbound and self.state is PlatformState.OFFERING:
            self._follow_callee(stimulus)
        elif isinstance(stimulus, h.FarEndRang):
            far.ring(stimulus)
        elif isinstance(stimulus, h.FarEndAnswered):
            far.answer(now)
            self._limit_dial(now)
        elif far.is_up:
            if isinstance(stimulus, h.FarEndRefused):
                far.refuse(stimulus)
            elif isinstance(stimulus, h.FarEndHungUp):
                far.hang_up(now, dict(stimulus.headers))
            else:
                self.promote(())
            self.runner.end_verb({}, now)

    def _limit_dial(self, now: float) -> None:
        running = self.runner.running
        if running is not None and isinstance(running.verb, v.Dial):
            limit = running.verb.time_limit
            running.deadline = None if limit is None else now + limit

    def confirm(self, verbs: tuple[Verb, ...], now: float) -> None:
        """Let the dialled party hear these verbs, and then join it to the caller."""
        far = self.runner.far
        assert far.leg is not None
        far.confirms = None
        self.confirmation = ConfirmCall(self, far.leg)
        self.confirmation.begin(verbs, now)

    def settle_confirmation(self, now: float) -> None:
        """Join the parties once the dialled one has heard its verbs, or end the dial because it has gone."""
        confirmation = self.confirmation
        if confirmation is None:
            return
        if confirmation.is_over:
            self.confirmation = None
            # A dial that was replaced has ended already.
            if isinstance(self.running, v.Dial):
                self.runner.end_verb({}, now)
        elif confirmation.is_done:
            self.confirmation = None
            self.runner.far.bridge(now)

    def promote(self, verbs: tuple[Verb, ...]) -> None:
        """Make the dialled leg, which is up, a call of its own; these verbs run on it."""
        far = self.runner.far
        assert far.leg is not None
        self._promotions += 1
        self.confirmation = None
        self.put(h.CallBegan(promoted(self.profile, self.leg, far.leg, self._promotions, verbs)))
        far.leave()

    def _follow_callee(self, stimulus: h.Happening) -> None:
        if isinstance(stimulus, h.FarEndRang):
            self.leg.move("ringing", stimulus.status)
            self.tell_status(self.leg)
        elif isinstance(stimulus, h.FarEndAnswered):
            self.leg.move("in-progress", 200)
            self.leg.answered_at = self.now
            self.tell_status(self.leg)
            self.offer()
        elif isinstance(stimulus, h.FarEndRefused):
            is_busy = stimulus.status in (486, 600)
            self.leg.move("busy" if is_busy else "failed", stimulus.status, stimulus.reason)
            self.tell_status(self.leg)
            self.wind_up()

    # What verbs and commands need of the call

    def put(self, output: h.PlatformOutput) -> None:
        """Hand out an output."""
        self.out.append(output)

    def ask(self, kind: type[w.Notice], data: Object, hook: str | None = None) -> str:
        """Send a message by the socket that runs the verbs; return its msgid."""
        link = self.links[-1]
        if self.is_over and link.state is not LinkState.OPEN and issubclass(kind, w.Question):
            # Nobody is there to hear a last hook.
            hooked: dict[str, Any] = {} if hook is None else {"hook": hook}
            question = kind(msgid=self._number(), data=data, **hooked)
            self.out.append(r.AckMissing(question, in_time=False))
            return question.msgid
        return link.say(kind, data, self.now, self.out, hook)

    def notify(self, data: Object) -> None:
        """Send a `verb:status`, if they are on."""
        if self._notifies:
            self.ask(w.VerbProgressed, data)

    def tell_status(self, leg: Leg, **extra: Any) -> None:
        """Send a `call:status`, if there is a hook for it: by the first socket, whoever runs the verbs."""
        if self.profile.has_status_hook:
            self.links[0].say(w.CallStatusChanged, leg.data(self.profile) | extra, self.now, self.out)

    def answer(self, now: float, is_early: bool = False) -> None:
        """Answer the caller, or let it hear something before."""
        if is_early:
            if self.leg.status == "trying":
                self.leg.move("early-media", 183)
                self.put(h.Responded(status=183, reason=self.leg.sip_reason))
                self.tell_status(self.leg)
            return
        self.leg.move("in-progress", 200)
        self.leg.answered_at = now
        self.put(h.Responded(status=200, reason="OK"))
        self.tell_status(self.leg)

    def configure(self, config: v.Config) -> None:
        """Apply a `config`. Statuses cannot be turned off again."""
        self._notifies = self._notifies or config.notify_events is True
        if config.action_hook_delay_action is not None:
            self.delay.configure(config.action_hook_delay_action)

    def redirect(self, url: str, now: float) -> str:
        """Ask a hook for a new stack: on a new socket where it is a whole URL."""
        data = self.leg.data(self.profile)
        if url.startswith(("ws:", "wss:")):
            self.add_link(url)
        return self.links[-1].say(w.SessionRedirected, data, now, self.out, url)

    def decline(self, status: int, reason: str, headers: Mapping[str, Any] | None) -> None:
        """Refuse the call; nothing more happens until the caller's side ends."""
        self.leg.move("failed", status, reason)
        self.put(h.Responded(status=status, reason=reason, headers=headers or {}))
        self.tell_status(self.leg)

    def hang_up(self, now: float, headers: Mapping[str, Any] | None = None) -> None:
        """End the call from jambonz's side."""
        self.now = max(now, self.now)
        if self.is_over:
            return
        if self.leg.answered_at is None:
            self.put(h.Responded(status=603, reason="Decline"))
            self.leg.move("failed", 603, "Decline")
            self.tell_status(self.leg)
            self.wind_up()
            return
        self.put(h.Requested(method="BYE", headers=headers or {}))
        self.leg.terminated_by = "jambonz"
        self._end_answered(None)

    def _end_answered(self, headers: Mapping[str, str] | None) -> None:
        self.leg.move("completed", 200)
        self.leg.duration = int(self.now - (self.leg.answered_at or self.now))
        self.leg.headers = headers
        self.tell_status(self.leg)
        self.wind_up()

    def refuse_silently(self) -> None:
        """End a call that rings, at the application's wish: nothing is said of it."""
        self.put(h.Responded(status=503, reason="Service Unavailable"))
        self.leg.move("no-answer", 503)
        self.wind_up()

    def starts(self) -> None:
        """Note that a verb starts: nobody waits for one any more."""
        self.delay.end()

    def wait(self, now: float, delay: parts.HookDelay | None = None) -> None:
        """Begin to wait for what a hook says."""
        if self.leg.answered_at is not None and not self.is_over:
            self.delay.begin(now, delay)

    def rest(self, now: float) -> None:
        """Begin to wait for verbs, or end the call of an application that will send none."""
        if self.is_left:
            self.hang_up(now)
        else:
            self.wait(now)

    # The end

    def reject(self, reason: str) -> None:
        """Refuse the call for want of verbs that can be used."""
        if self.leg.status != "no-answer":
            self.put(h.Responded(status=self.profile.reject_status, headers={"X-Reason": reason}))
        for link in self.links:
            link.finish(1001, self.out)
        self.runner.abandon()
        self.state = PlatformState.ENDING

    def wind_up(self) -> None:
        """End the running verb in its own way, then close."""
        self.state = PlatformState.ENDING
        self.attach_at = None
        self.delay.end()
        self.runner.stack.clear()
        self.runner.kill(self.now)
        self._close_links()

    def _close_links(self) -> None:
        if self.runner.running is None:
            for link in reversed(self.links):
                link.finish(1000, self.out)

    def close_if_done(self) -> None:
        """Close once the last hook has its ack, and the last word is said."""
        if self.state is not PlatformState.ENDING:
            return
        self._close_links()
        if self.runner.running is None and all(link.state is LinkState.DEAD for link in self.links):
            self.state = PlatformState.CLOSED
            self.put(
                w.ControlClosed(
                    initiator=Side.PLATFORM,
                    code=None,
                    reason=self.leg.status,
                    outcome=w.Outcome.ENDED,
                    redials=w.Redial.NO,
                    call_continues=False,
                )
            )
