"""The application end of a jambonz control socket: hears events, acks them, says commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from callstream_core.commands import HangUp
from callstream_core.errors import LocalProtocolError, Malformed
from callstream_core.events import MessageIgnored, PeerMisbehaved, Side
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.call_memory import CallMemory
from callstream_core.jambonz.codec import decode_event, encode_ack, encode_order
from callstream_core.jambonz.control_state import (
    ControlCommand,
    ControlOutput,
    ControlState,
    close_code,
    closed_event,
    farewell,
    has_place,
    refusal,
    usable_verbs,
)
from callstream_core.jambonz.debts import Debts
from callstream_core.jambonz.held_orders import HeldOrders
from callstream_core.jambonz.limits import ControlLimits, ControlSettings
from callstream_core.jambonz.sent_verbs import SentVerbs, named
from callstream_core.jambonz.token_outbox import TokenOutbox
from callstream_core.jambonz.values import Verb
from callstream_core.outputs import CloseLink, Transmit

_SPEAKABLE = frozenset({ControlState.STARTING, ControlState.RUNNING})


class ControlSession:
    """Hears what jambonz says on one control socket, and says an application's acks and commands.

    Every input returns what must happen next, in order. Nothing is raised for what the peer sent; `send` raises for
    mistakes of its caller, and has then changed nothing. A `now` earlier than the last one counts as the last.
    """

    def __init__(
        self,
        *,
        limits: ControlLimits | None = None,
        settings: ControlSettings | None = None,
        now: float | None = None,
    ) -> None:
        """Begin a session; with `now`, jambonz's first message has a deadline."""
        self.limits = limits or ControlLimits()
        self.settings = settings or ControlSettings()
        self.state = ControlState.NEW
        self.memory = CallMemory()
        """What is known of the call; keep it for the next socket."""
        self.counters: Counter[str] = Counter()
        """Every tolerance that was needed, by name."""
        self._now = float("-inf")
        self._debts = Debts(self.limits.max_settled)
        self._sent = SentVerbs(self.limits)
        self._tokens = TokenOutbox(self.limits)
        self._held = HeldOrders(self.limits)
        self._refused_call = False
        # The one deadline that a state has: of the opening, the first command, the close.
        self._patience = None if now is None else now + self.limits.opening_timeout

    # What anybody may read

    @property
    def call_sid(self) -> str | None:
        """The call that owns the socket."""
        return self.memory.call_sid

    @property
    def owed(self) -> list[w.Question]:
        """The messages that wait for their ack, oldest first."""
        return [debt.question for debt in self._debts]

    @property
    def running(self) -> Verb | None:
        """The verb that runs, where statuses are on and it has an id."""
        return self._sent.find(self._sent.running) if self._sent.running else None

    @property
    def pending_tokens(self) -> int:
        """Characters of text that were accepted and not sent yet."""
        return self._tokens.pending

    def verb(self, verb_id: str) -> Verb | None:
        """Return the verb of an id that comes back in a hook or a status."""
        return self._sent.find(verb_id)

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        found = (self._patience, self._debts.earliest, self._tokens.deadline)
        return min((at for at in found if at is not None), default=None)

    # What jambonz says

    def receive(self, message: str | bytes, now: float) -> list[ControlOutput]:
        """Take one message from jambonz."""
        self._now = max(now, self._now)
        out: list[ControlOutput] = []
        if self.state is ControlState.CLOSED:
            return out
        was_starting = self.state is ControlState.STARTING
        try:
            if len(message) > self.limits.max_text:
                raise Malformed(f"a message of {len(message)} characters; {self.limits.max_text} are the most")
            event = decode_event(message)
        except Malformed as error:
            self._misbehaved(str(error), out)
            return out
        if isinstance(event, MessageIgnored):
            self.counters["messages_ignored"] += 1
            out.append(event)
        elif isinstance(event, w.Question):
            self._hear_question(event, out)
        else:
            self._hear_notice(event, out)
        if was_starting:
            # Whatever follows the first ack shows that it was used.
            self._begin_to_command(out)
        return out

    def _misbehaved(self, reason: str, out: list[ControlOutput]) -> None:
        self.counters["misbehaved"] += 1
        out.append(PeerMisbehaved(reason))
        if self.counters["misbehaved"] > self.limits.max_misbehaviour:
            self._close(1002, "too many broken messages", out)

    def _hear_question(self, event: w.Question, out: list[ControlOutput]) -> None:
        if self._debts.is_known(event.msgid):
            self._misbehaved(f"{event.word}: the msgid of an earlier message", out)
        elif not has_place(event, self.state):
            self._misbehaved(f"{event.word} while the session is {self.state.value}", out)
        elif self.state is ControlState.NEW:
            self._begin(event, out)
        else:
            out.append(event)
            self._learn(event, out)
            if self.state is ControlState.ENDING:
                self._ack_alone(event, w.AckReason.ENDING, out)
            elif isinstance(event, w.HookCalled) and self._sent.is_interrupted(event):
                # Verbs in this ack would take the place of those that interrupted.
                self._ack_alone(event, w.AckReason.INTERRUPTED, out)
            else:
                self._owe(event, self.limits.hook_timeout, out)

    def _begin(self, event: w.Question, out: list[ControlOutput]) -> None:
        self.memory = self.memory.begin(event)
        self._patience = None
        out.append(event)
        if isinstance(event, w.SessionReconnected):
            self.state = ControlState.RUNNING
            self._tokens.open(self._now)
            # jambonz says nothing else before this ack, and wants no verbs in it.
            self._ack_alone(event, w.AckReason.NO_VERBS_WANTED, out)
            return
        self.state = ControlState.OFFERED
        if isinstance(event, w.LegPromoted):
            self._ack_alone(event, w.AckReason.NO_VERBS_WANTED, out)
        else:
            self._owe(event, self.limits.offer_timeout, out)

    def resume(self, memory: CallMemory) -> None:
        """Give a session that began with `SessionReconnected` what the lost socket's session knew."""
        if self.state not in (ControlState.RUNNING, ControlState.ENDING):
            raise LocalProtocolError(f"nothing can be resumed while the session is {self.state.value}")
        self.memory = memory.resumed(self.call_sid)

    def _owe(self, event: w.Question, patience: float, out: list[ControlOutput]) -> None:
        while self._debts.is_crowded(event, self.limits):
            self.counters["crowded_out"] += 1
            self._ack_alone(next(iter(self._debts)).question, w.AckReason.CROWDED, out)
        self._debts.owe(event, self._now + patience)

    def _hear_notice(self, event: w.Notice, out: list[ControlOutput]) -> None:
        if isinstance(event, w.TokensAnswered | w.SpeechStreamChanged):
            told, following = self._tokens.hear(event, self._now)
            out.extend(told)
            self._transmit(following, out)
            return
        if isinstance(event, w.VerbProgressed):
            self._sent.follow(event)
        elif isinstance(event, w.ErrorReported) and event.is_ours:
            self.counters["our_mistakes"] += 1
        out.append(event)
        if isinstance(event, w.CallStatusChanged):
            self._learn(event, out)

    def _learn(self, event: w.Notice, out: list[ControlOutput]) -> None:
        status = event.call_status
        if status is None or (isinstance(event, w.CallStatusChanged) and event.error is not None):
            return
        self.memory = self.memory.follow(event.leg, status, self.limits.max_legs)
        if self.state is ControlState.NEW:
            self._patience = self._now + self.limits.ringing_timeout
            # The last words of a call may be all that a socket ever hears.
            is_ours = event.call_sid in (None, event.leg)
        else:
            is_ours = event.leg == self.call_sid
        if not is_ours:
            return
        if status.is_final and self.state is not ControlState.ENDING:
            self._end(out)
        elif status is w.CallStatus.IN_PROGRESS and self._refused_call:
            # It was answered while our refusal was on its way; that cannot end it any more.
            self._refused_call = False
            out.append(Transmit(encode_order(o.SetCallStatus(o.LastStatus.COMPLETED))))

    # What the application says

    def send(self, command: ControlCommand, now: float) -> list[ControlOutput]:
        """Say one command. Raise `LocalProtocolError` where that is a mistake; nothing is changed then."""
        self._now = max(now, self._now)
        out: list[ControlOutput] = []
        if self.state is ControlState.CLOSED:
            raise LocalProtocolError("the session is closed")
        if isinstance(command, o.Ack):
            self._say_ack(command, out)
        elif isinstance(command, o.Disconnect):
            self._close(close_code(command), command.reason, out)
        elif isinstance(command, HangUp) and self.state is ControlState.OFFERED:
            self._ack(next(iter(self._debts)).question, refusal(self.memory.is_answered), None, out)
        else:
            self._say_order(farewell(command, self.memory.is_answered) if isinstance(command, HangUp) else command, out)
        return out

    def _say_ack(self, ack: o.Ack, out: list[ControlOutput]) -> None:
        question = self._debts.find(ack.msgid).question
        self._ack(question, usable_verbs(ack, question), None, out)

    def _named(self, verbs: Iterable[Verb]) -> tuple[Verb, ...]:
        return named(verbs, self.memory.verbs) if self.settings.names_verbs else tuple(verbs)

    def _ack(
        self,
        question: w.Question,
        verbs: tuple[Verb, ...] | None,
        reason: w.AckReason | None,
        out: list[ControlOutput],
    ) -> None:
        if verbs is not None:
            verbs = self._named(verbs)
        message = encode_ack(o.Ack(question.msgid, verbs))
        out.append(Transmit(message))
        self._debts.settle(question.msgid, reason)
        if reason is not None:
            out.append(w.Acked(question.msgid, reason))
        self._note(question, verbs or (), len(message), out)
        if self.state is ControlState.OFFERED:
            self.state = ControlState.STARTING
            self._patience = self._now + self.limits.first_command_delay

    def _note(self, question: w.Question, verbs: tuple[Verb, ...], size: int, out: list[ControlOutput]) -> None:
        self.memory = attrs.evolve(self.memory, verbs=self.memory.verbs + len(verbs))
        if isinstance(question, w.TargetAnswered):
            self._sent.append(verbs, size)
        elif verbs and isinstance(question, w.SessionRedirected) and self.state is ControlState.RUNNING:
            self._interrupt(verbs, size, out)
        elif verbs:
            self._sent.replace(verbs, size)

    def _ack_alone(self, question: w.Question, reason: w.AckReason, out: list[ControlOutput]) -> None:
        self._ack(question, None, reason, out)

    def _ack_overdue(self, question: w.Question, out: list[ControlOutput]) -> None:
        is_offer = self.state is ControlState.OFFERED
        self._ack(question, self.settings.holding_verbs if is_offer else None, w.AckReason.OVERDUE, out)

    def _say_order(self, order: o.Order, out: list[ControlOutput]) -> None:
        if self.state not in _SPEAKABLE:
            advice = "; ack the offer first, with verbs" if self.state is ControlState.OFFERED else ""
            raise LocalProtocolError(
                f"{type(order).__name__} is not possible while the session is {self.state.value}{advice}"
            )
        if isinstance(order, o.Redirect | o.RedirectParent) and isinstance(order.verbs, tuple):
            order = attrs.evolve(order, verbs=self._named(order.verbs))
        message = encode_order(order)
        if isinstance(order, o.SendTokens | o.FlushTokens):
            self._transmit(self._tokens.add(order, self._now), out)
            return
        if self.state is ControlState.STARTING:
            self._held.check(message)
        if isinstance(order, o.Redirect | o.RedirectParent):
            self.memory = attrs.evolve(self.memory, verbs=self.memory.verbs + len(order.verbs))
        if isinstance(order, o.ClearTokens):
            out.extend(self._tokens.clear())
        if self.state is ControlState.STARTING:
            self._held.add(order, message)
        else:
            self._pass(order, message, out)

    def _pass(self, order: o.Order, message: str, out: list[ControlOutput]) -> None:
        out.append(Transmit(message))
        match order:
            case o.Redirect(queue=True):
                self._sent.append(order.verbs, len(message))
            case o.Redirect() | o.RedirectParent():
                self._interrupt(order.verbs, len(message), out)
            case o.SetCallStatus(call_sid=None):
                self._refused_call = order.status is o.LastStatus.NO_ANSWER
                self._end(out)

    def _interrupt(self, verbs: tuple[Verb, ...], size: int, out: list[ControlOutput]) -> None:
        """Note that `verbs` interrupt; they start when the hooks that are open have their acks."""
        self._sent.interrupt(verbs, size)
        for debt in self._debts:
            if isinstance(debt.question, w.HookCalled):
                self._ack_alone(debt.question, w.AckReason.INTERRUPTED, out)

    def _begin_to_command(self, out: list[ControlOutput]) -> None:
        if self.state is ControlState.STARTING:
            self.state = ControlState.RUNNING
            self._patience = None
        for order, message in self._held.take():
            # A farewell among them ends the rest.
            if self.state is ControlState.RUNNING:
                self._pass(order, message, out)
            else:
                self._held.add(order, message)
        if self.state is ControlState.RUNNING:
            self._transmit(self._tokens.open(self._now), out)

    def _transmit(self, pieces: Iterable[o.Order], out: list[ControlOutput]) -> None:
        out.extend(Transmit(encode_order(piece)) for piece in pieces)

    # Time

    def handle_timeout(self, now: float) -> list[ControlOutput]:
        """Do what is due at `now`; early, late and double calls do no harm."""
        self._now = now = max(now, self._now)
        out: list[ControlOutput] = []
        for debt in self._debts.due(now):
            self._ack_overdue(debt.question, out)
        dropped, following = self._tokens.expire(now)
        out.extend(dropped)
        self._transmit(following, out)
        if self._patience is None or self._patience > now:
            return out
        if self.state is ControlState.STARTING:
            self._begin_to_command(out)
        elif self.state is ControlState.NEW:
            out.append(PeerMisbehaved(f"no message within {self.limits.opening_timeout:g} s"))
            self._close(1002, "no opening message", out)
        else:
            out.append(CloseLink(1000))
            self._finish(Side.APP, None, "jambonz did not close when the call had ended", out)
        return out

    # The end

    def _end(self, out: list[ControlOutput]) -> None:
        """Wait for jambonz's close; it comes when all hooks have their ack."""
        for debt in self._debts:
            if self.state is ControlState.OFFERED:
                self._ack_overdue(debt.question, out)
            else:
                self._ack_alone(debt.question, w.AckReason.ENDING, out)
        out.extend(self._tokens.clear())
        self._tokens.is_open = False
        self.state = ControlState.ENDING
        self._patience = self._now + self.limits.close_timeout

    def receive_close(self, code: int | None, now: float, reason: str = "") -> list[ControlOutput]:
        """Take the end of the WebSocket: its close code, 1005 for a close without one, None for a lost connection."""
        self._now = max(now, self._now)
        out: list[ControlOutput] = []
        if self.state is not ControlState.CLOSED:
            if code is not None:
                out.append(CloseLink(None if code == 1005 else code))
            self._finish(Side.PLATFORM, code, reason, out)
        return out

    def fail(self, code: int, reason: str, now: float) -> list[ControlOutput]:
        """End the session because of something that only the link can see; say `code` to the peer."""
        self._now = max(now, self._now)
        out: list[ControlOutput] = []
        if self.state is not ControlState.CLOSED:
            self._close(code, reason, out)
        return out

    def _close(self, code: int, reason: str, out: list[ControlOutput]) -> None:
        out.append(CloseLink(code, reason))
        self._finish(Side.APP, code, reason, out)

    def _finish(self, initiator: Side, code: int | None, reason: str, out: list[ControlOutput]) -> None:
        is_capped = self.memory.connections >= self.limits.max_connections
        out.extend(self._tokens.clear())
        out.append(closed_event(initiator, code, reason, self.state, is_capped=is_capped, unsent=self._held.orders))
        self.state = ControlState.CLOSED
        self._patience = self._tokens.deadline = None
        self._debts.clear()
        self._held.take()
