"""Where a control socket stands, and what its end means."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from callstream_core.closing import reason_of
from callstream_core.commands import HangUp, When
from callstream_core.errors import LocalProtocolError
from callstream_core.events import MessageIgnored, PeerMisbehaved, Side
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.codec import SUBPROTOCOL
from callstream_core.jambonz.values import Verb
from callstream_core.jambonz.verbs import Hangup, SipDecline
from callstream_core.jambonz.words import Outcome, Redial
from callstream_core.outputs import CloseLink, Transmit

ControlCommand = o.Ack | o.Order | HangUp | o.Disconnect
ControlEvent = w.Notice | w.Acked | w.TokensDropped | w.ControlClosed | PeerMisbehaved | MessageIgnored
ControlOutput = ControlEvent | Transmit | CloseLink


# Codes that no close frame can carry.
_NO_CODES = frozenset({1004, 1005, 1006, 1015})


class ControlState(enum.Enum):
    """Where a control socket stands."""

    NEW = "new"
    """Connected; jambonz has not said what for."""
    OFFERED = "offered"
    """A call is offered; it wants verbs within seconds."""
    STARTING = "starting"
    """The first ack has left; commands wait until jambonz listens for them."""
    RUNNING = "running"
    ENDING = "ending"
    """The call is over or told to end; last hooks are acked, and jambonz closes."""
    CLOSED = "closed"


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to accept on a control socket, or None where the upgrade is to be refused."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def has_place(event: w.Question, state: ControlState) -> bool:
    """Tell whether a question makes sense in a state."""
    begins = isinstance(event, w.SessionOffered | w.SessionReconnected | w.LegPromoted)
    if state is ControlState.NEW:
        return begins or isinstance(event, w.SessionRedirected)
    return not begins and state is not ControlState.OFFERED


_CONTINUES = {Outcome.ENDED: False, Outcome.REJECTED: False, Outcome.LEFT: None, Outcome.LOST: True}


def closed_event(
    initiator: Side,
    code: int | None,
    reason: str,
    state: ControlState,
    *,
    is_capped: bool,
    unsent: tuple[object, ...],
) -> w.ControlClosed:
    """Return the last event of a socket that ends in `state`."""
    outcome, redials = _meaning_of(code, initiator, state, is_capped=is_capped)
    return w.ControlClosed(
        initiator=initiator,
        code=code,
        reason=reason_of(code, reason),
        outcome=outcome,
        redials=redials,
        call_continues=_CONTINUES[outcome],
        unsent=unsent,
    )


def _meaning_of(code: int | None, initiator: Side, state: ControlState, *, is_capped: bool) -> tuple[Outcome, Redial]:
    """Return what a close means for the call, and whether jambonz dials again: the code alone decides."""
    if state is ControlState.ENDING or (code == 1000 and initiator is Side.PLATFORM):
        return Outcome.ENDED, Redial.NO
    if code == 1001 and initiator is Side.PLATFORM:
        return Outcome.REJECTED, Redial.NO
    if code == 1000:
        return Outcome.LEFT, Redial.NO
    if state is ControlState.NEW or is_capped:
        return Outcome.LOST, Redial.WHEN_NEEDED
    return Outcome.LOST, Redial.SOON


def farewell(command: HangUp, is_answered: bool | None) -> o.Order:
    """Return the command that ends a call: never a bare close, after which an idle call would stay up in silence."""
    if command.when is When.AFTER_PLAYOUT:
        # Of the two, jambonz skips the one that does not fit the call's state by then.
        return o.Redirect((Hangup(),) if is_answered else (Hangup(), *refusal(is_answered)), queue=True)
    return o.SetCallStatus(o.LastStatus.NO_ANSWER if is_answered is False else o.LastStatus.COMPLETED)


def refusal(is_answered: bool | None) -> tuple[Verb, ...]:
    """Return the verbs that end a call which was only offered."""
    return (Hangup() if is_answered else SipDecline(status=480, reason="Temporarily Unavailable"),)


def usable_verbs(ack: o.Ack, question: w.Question) -> tuple[Verb, ...] | None:
    """Return the verbs of an ack, or raise where jambonz would reject the call because of them."""
    if isinstance(ack.verbs, o.Unusable):
        raise LocalProtocolError(f"jambonz would refuse the verbs: {ack.verbs.reason}")
    if ack.verbs is not None and not isinstance(ack.verbs, tuple):
        raise LocalProtocolError(f"verbs should be a sequence of verbs, not {type(ack.verbs).__name__}")
    # A call that was ordered by REST may idle.
    is_ordered = question.data.get("direction") == "outbound"
    if isinstance(question, w.SessionOffered) and not ack.verbs and not is_ordered:
        raise LocalProtocolError(f"the ack of {question.word} needs verbs: jambonz rejects the call without")
    return ack.verbs


def close_code(command: o.Disconnect) -> int:
    """Return a close code that can be sent."""
    if not isinstance(command.code, int) or command.code in _NO_CODES or not 1000 <= command.code <= 4999:
        raise LocalProtocolError(f"code should be a close code, not {command.code}")
    return command.code
