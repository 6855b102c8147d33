"""The jambonz end of a call's control sockets: dials the application, runs its verbs, obeys its commands."""

from __future__ import annotations

from collections import Counter

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import requestor as r
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import Refused, decode_order
from callstream_core.jambonz.obedience import Obedience
from callstream_core.jambonz.phone_call import FarEndHappening, PhoneCall, PlatformState
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.jambonz.requestor import Requestor
from callstream_core.jambonz.values import Verb
from callstream_core.outputs import CloseLink


class ControlPlatform:
    """One call of a simulated jambonz, over all of its control sockets.

    The mirror of `ControlSession`: `send` takes what happens to the call (or a message to be said as it stands),
    `receive` returns the acks and commands that were heard. It dials: `DialLink` asks for a socket, and
    `link_opened` or `link_refused` tell of it. Outputs of a second socket come wrapped in `OnLink`.
    """

    def __init__(self, profile: JambonzProfile | None = None) -> None:
        self.call = PhoneCall(profile or JambonzProfile())
        """The call: its legs, its verbs."""
        self.counters: Counter[str] = Counter()
        """Every mistake of the application that was passed over, by name."""
        self._obedience = Obedience(self.call)
        self._first_verbs: tuple[Verb, ...] = ()

    # What anybody may read

    @property
    def state(self) -> PlatformState:
        """Where the call stands."""
        return self.call.state

    @property
    def profile(self) -> JambonzProfile:
        """What this jambonz was told."""
        return self.call.profile

    @property
    def running(self) -> Verb | None:
        """The verb that runs."""
        return self.call.running

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        if self.state is PlatformState.CLOSED:
            return None
        found = [link.next_timeout for link in self.call.links]
        found += [self.call.next_timeout, self.call.attach_at, self._obedience.speech.deadline]
        return min((at for at in found if at is not None), default=None)

    # What happens

    def begin(self, now: float) -> list[h.PlatformOutput]:
        """Let the call come in, or be placed; the first socket is dialled."""
        self.call.now = max(now, self.call.now)
        if self.state is not PlatformState.IDLE:
            raise LocalProtocolError("the call has begun before")
        self.call.state = PlatformState.OFFERING
        if self.profile.parent is not None:
            self.call.announce()
        elif self.profile.is_outbound:
            self.call.tell_status(self.call.leg)
        else:
            self.call.offer()
        return self._settled()

    def link_opened(self, now: float, link: int = 0) -> list[h.PlatformOutput]:
        """Take a socket that was asked for; the application has chosen the subprotocol."""
        self.call.now = max(now, self.call.now)
        self.call.links[link].opened(self.call.now, self.call.out)
        return self._settled()

    def link_refused(self, refusal: h.Refusal, now: float, link: int = 0) -> list[h.PlatformOutput]:
        """Take the news that a socket could not be had."""
        self.call.now = max(now, self.call.now)
        self.call.links[link].refused(refusal, self.call.now, self.call.out)
        return self._settled()

    def send(self, stimulus: h.Stimulus, now: float) -> list[h.PlatformOutput]:
        """Let something happen to the call, or say a message as it stands (its msgid is counted anew)."""
        self.call.now = now = max(now, self.call.now)
        if self.state in (PlatformState.IDLE, PlatformState.CLOSED):
            raise LocalProtocolError(f"nothing can happen while the call is {self.state.value}")
        if isinstance(stimulus, w.Notice):
            self.call.ask(type(stimulus), stimulus.data, getattr(stimulus, "hook", None))
        elif isinstance(stimulus, h.CallerHungUp):
            self.call.lose_caller(stimulus)
        elif isinstance(stimulus, FarEndHappening):
            self.call.follow_far_end(stimulus)
        elif isinstance(stimulus, h.HttpAnswered):
            for runner in self.call.runners:
                runner.hear_ack("http", stimulus.verbs, now)
        elif isinstance(stimulus, h.KeyPressed | h.CallerSpoke):
            for runner in self.call.runners[1:] if stimulus.is_callee else self.call.runners[:1]:
                runner.sense(stimulus, now)
        elif isinstance(stimulus, h.VerbEnded):
            self.call.runner.end_verb(stimulus.data, now)
        else:
            self._obedience.follow(stimulus, now)
        return self._settled()

    # What the application says

    def receive(self, message: str | bytes, now: float, link: int = 0) -> list[h.PlatformOutput]:
        """Take one message from the application."""
        self.call.now = now = max(now, self.call.now)
        if self.state is PlatformState.CLOSED:
            return []
        requestor = self.call.links[link]
        size = len(message if isinstance(message, bytes) else message.encode(errors="replace"))
        if size > self.call.profile.max_message:
            self.call.put(h.Logged(f"a message of {size} bytes; {self.call.profile.max_message} are the most"))
            self.call.out.append(requestor.on_link(CloseLink(1009)))
            requestor.closed(1009, now, self.call.out)
            return self._settled()
        try:
            heard = decode_order(message)
        except Refused as error:
            text = message if isinstance(message, str) else message.decode(errors="replace")
            content = text.encode(errors="replace").decode()
            data = {"msg": "InvalidMessage", "details": str(error), "content": content}
            self._log("misbehaved", f"invalid app payload: {error}")
            requestor.say(w.ErrorReported, data, now, self.call.out)
            return self._settled()
        if isinstance(heard, o.Ack):
            self.call.put(heard)
            requestor.acked(heard, now, self.call.out)
        elif self._listens_to(requestor):
            self.call.put(heard)
            self._obedience.obey(heard, size, now)
        else:
            self._log("lost", f"{type(heard).__name__}: nobody listens for commands")
        return self._settled()

    def _listens_to(self, requestor: Requestor) -> bool:
        if requestor is not self.call.links[-1]:
            return False
        # A call that was ordered by REST is listened to from its beginning.
        return self.state is PlatformState.RUNNING or (
            self.profile.is_outbound and self.call.state is PlatformState.OFFERING
        )

    def _log(self, name: str, text: str) -> None:
        self.counters[name] += 1
        self.call.put(h.Logged(text))

    def receive_close(self, code: int | None, now: float, reason: str = "", link: int = 0) -> list[h.PlatformOutput]:
        """Take the end of a socket: its close code, 1005 for a close without one, None for a lost connection."""
        self.call.now = now = max(now, self.call.now)
        if self.state is not PlatformState.CLOSED:
            if reason:
                self.call.put(h.Logged(f"the application closed: {reason}"))
            self.call.links[link].closed(code, now, self.call.out)
        return self._settled()

    def handle_timeout(self, now: float) -> list[h.PlatformOutput]:
        """Do what is due at `now`; early, late and double calls do no harm."""
        self.call.now = now = max(now, self.call.now)
        if self.state is PlatformState.CLOSED:
            return []
        for link in self.call.links:
            link.handle_timeout(now, self.call.out)
        if self.call.attach_at is not None and self.call.attach_at <= now:
            self._attach()
        self.call.handle_timeout(now)
        self._obedience.handle_timeout(now)
        return self._settled()

    # What becomes of messages

    def _settled(self) -> list[h.PlatformOutput]:
        """Digest the news of the sockets, and return what is for the outside."""
        done: list[h.PlatformOutput] = []
        self.call.settle_confirmation(self.call.now)
        self.call.close_if_done()
        while self.call.out:
            item = self.call.out.pop(0)
            if isinstance(item, r.AckCame):
                self._use_ack(item)
            elif isinstance(item, r.AckMissing):
                self._miss_ack(item)
            elif isinstance(item, r.Dropped):
                self._log("dropped", f"{item.event.word}: too much waits for a socket")
            elif isinstance(item, r.ResumeFailed):
                self.call.hang_up(self.call.now)
            elif isinstance(item, r.DialFailed):
                self._lose_application(item.reason)
            else:
                done.append(item)
            if not self.call.out:
                self.call.settle_confirmation(self.call.now)
                self.call.close_if_done()
        return done

    def _use_ack(self, news: r.AckCame) -> None:
        question, verbs = news.question, news.ack.verbs
        if isinstance(question, w.SessionOffered):
            self._use_first_ack(verbs)
        elif isinstance(question, w.LegPromoted):
            # Verbs in its ack are ignored; others come by a redirect.
            self.call.state = PlatformState.RUNNING
            self.call.runner.append(self.profile.first_verbs, self.call.now)
        elif question.msgid == self.call.runner.far.confirms:
            # A verb that cannot be run there ends it, as a stack that cannot be read does.
            if isinstance(verbs, o.Unusable) or any(isinstance(verb, v.SipDecline) for verb in verbs or ()):
                self._drop_far_end()
            else:
                self.call.confirm(verbs or (), self.call.now)
        elif not self._obedience.use_ack(question.msgid, verbs, self.call.now):
            for runner in self.call.runners:
                runner.hear_ack(question.msgid, verbs, self.call.now)

    def _use_first_ack(self, verbs: tuple[Verb, ...] | o.Unusable | None) -> None:
        if self.profile.is_outbound:
            self.call.state = PlatformState.RUNNING
            if isinstance(verbs, o.Unusable):
                self.call.put(h.Logged(verbs.reason))
            else:
                self.call.runner.append(verbs or (), self.call.now)
        elif verbs is None:
            self.call.reject("malformed jambonz payload: must be array")
        elif isinstance(verbs, o.Unusable):
            self.call.reject(verbs.reason)
        elif not verbs:
            self.call.reject("no application provided")
        elif not (permitted := self.call.runner.permitted(verbs)):
            self.call.reject("invalid verbs for incoming siprec call")
        else:
            self.call.state = PlatformState.ATTACHING
            self._first_verbs = permitted
            self.call.attach_at = self.call.now + self.call.profile.attach_delay

    def _attach(self) -> None:
        self.call.attach_at = None
        self.call.state = PlatformState.RUNNING
        if self.call.leg.status == "no-answer":
            self.call.tell_status(self.call.leg)
            # The order is the engine's own.
            self.call.tell_status(self.call.leg, call_status="trying", sip_status=100, sip_reason="Trying")
            self.call.wind_up()
            return
        self.call.tell_status(self.call.leg)
        self.call.runner.append(self._first_verbs, self.call.now)

    def _miss_ack(self, news: r.AckMissing) -> None:
        question = news.question
        if isinstance(question, w.SessionOffered):
            if not self.call.is_over:
                self.call.reject("unknown")
        elif isinstance(question, w.LegPromoted):
            self.call.hang_up(self.call.now)
        elif question.msgid == self.call.runner.far.confirms:
            self._drop_far_end()
        elif not self._obedience.miss_ack(question.msgid):
            for runner in self.call.runners:
                runner.miss_ack(question.msgid, self.call.now, news.in_time)

    def _drop_far_end(self) -> None:
        self.call.runner.end_verb({}, self.call.now)

    def _lose_application(self, reason: str) -> None:
        if self.state is PlatformState.OFFERING and self.call.leg.answered_at is None:
            self.call.reject(reason)
        else:
            self.call.hang_up(self.call.now)
