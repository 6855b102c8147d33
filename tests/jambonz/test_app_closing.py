"""The application's end: how a call and its socket end."""

from __future__ import annotations

import attrs
import pytest

from callstream_core.commands import HangUp, When
from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlState
from callstream_core.jambonz.limits import ControlSettings
from callstream_core.outputs import CloseLink
from tests.jambonz.app import CALL, ack, offered, rest, running, sent, status, text


@pytest.mark.parametrize(
    ("state", "said"),
    [("in-progress", "completed"), ("ringing", "no-answer")],
)
def test_p17_hanging_up_is_a_command_not_a_close(state: str, said: str) -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.receive(status(state), 0.1)
    out = session.send(HangUp(), 1)
    assert sent(out) == [{"type": "command", "command": "call:status", "data": {"call_status": said}}]
    assert rest(out) == []
    with pytest.raises(LocalProtocolError, match="while the session is ending"):
        session.send(HangUp(), 1)
    # Where jambonz never closes, we do.
    assert session.next_timeout() == 11
    closed = session.handle_timeout(11)
    assert closed[0] == CloseLink(1000)
    assert isinstance(closed[1], w.ControlClosed)
    assert closed[1].outcome is w.Outcome.ENDED


def test_p17_hanging_up_what_is_only_offered_or_after_the_last_word() -> None:
    decline = {"verb": "sip:decline", "status": 480, "reason": "Temporarily Unavailable"}
    assert sent(offered().send(HangUp(), 1)) == [ack("m0", decline)]
    session = ControlSession()
    session.receive(text("session:new", CALL | {"direction": "outbound"}, msgid="n"), 1)
    assert sent(session.send(HangUp(), 1)) == [ack("n", {"verb": "hangup", "id": "v1"})]
    (message,) = sent(running().send(HangUp(When.AFTER_PLAYOUT), 1))
    assert message["queueCommand"]
    assert message["data"] == [{"verb": "hangup"}]
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.receive(status("trying"), 0.1)
    (message,) = sent(session.send(HangUp(When.AFTER_PLAYOUT), 1))
    assert message["data"] == [{"verb": "hangup"}, decline]


def test_p17_a_call_that_is_answered_while_we_refuse_it() -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.receive(status("trying"), 0.1)
    session.send(HangUp(), 1)
    out = session.receive(status("in-progress"), 1.1)
    assert sent(out)[0]["data"] == {"call_status": "completed"}
    assert sent(session.receive(status("in-progress"), 1.2)) == []


def test_a_farewell_among_held_commands_ends_the_rest() -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.send(HangUp(), 0)
    session.send(o.SetMute(True), 0)
    assert [message["command"] for message in sent(session.handle_timeout(0.1))] == ["call:status"]
    closed = session.receive_close(1000, 1)[-1]
    assert isinstance(closed, w.ControlClosed)
    assert closed.unsent == (o.SetMute(True),)


@pytest.mark.parametrize(
    ("code", "outcome", "redials"),
    [
        (1000, w.Outcome.ENDED, w.Redial.NO),
        (1001, w.Outcome.REJECTED, w.Redial.NO),
        (1009, w.Outcome.LOST, w.Redial.SOON),
        (1005, w.Outcome.LOST, w.Redial.SOON),
        (None, w.Outcome.LOST, w.Redial.SOON),
    ],
)
def test_what_jambonz_close_means(code: int | None, outcome: w.Outcome, redials: w.Redial) -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    out = session.receive_close(code, 1)
    closed = out[-1]
    assert isinstance(closed, w.ControlClosed)
    assert (closed.outcome, closed.redials) == (outcome, redials)
    assert out[:-1] == ([] if code is None else [CloseLink(None if code == 1005 else code)])
    assert session.receive_close(code, 1) == session.fail(1011, "", 1) == session.handle_timeout(99) == []
    with pytest.raises(LocalProtocolError, match="closed"):
        session.send(o.FlushTokens(), 1)


@pytest.mark.parametrize(
    ("code", "outcome", "redials", "goes_on"),
    [
        (1000, w.Outcome.LEFT, w.Redial.NO, None),
        (4000, w.Outcome.LOST, w.Redial.SOON, True),
        (1012, w.Outcome.LOST, w.Redial.SOON, True),
    ],
)
def test_our_close_code_decides(code: int, outcome: w.Outcome, redials: w.Redial, goes_on: bool | None) -> None:
    out = running().send(o.Disconnect(code, "bye"), 1)
    assert out[0] == CloseLink(code, "bye")
    closed = out[1]
    assert isinstance(closed, w.ControlClosed)
    assert (closed.outcome, closed.redials, closed.call_continues) == (outcome, redials, goes_on)


def test_close_codes_that_cannot_be_sent_and_failures_of_the_link() -> None:
    session = running()
    for code in (0, 999, 1005, 1006, 5000):
        with pytest.raises(LocalProtocolError, match="close code"):
            session.send(o.Disconnect(code), 1)
    assert session.fail(1011, "handler raised", 1)[0] == CloseLink(1011, "handler raised")


def test_after_the_last_connection_jambonz_dials_only_when_needed() -> None:
    session = running()
    session.memory = attrs.evolve(session.memory, connections=5)
    closed = session.receive_close(None, 1)[-1]
    assert isinstance(closed, w.ControlClosed)
    assert closed.redials is w.Redial.WHEN_NEEDED


def test_no_opening_message() -> None:
    session = ControlSession(now=0)
    assert session.handle_timeout(9) == []
    out = session.handle_timeout(10)
    assert out[1] == CloseLink(1002, "no opening message")
    assert ControlSession().next_timeout() is None


def test_an_offer_that_the_caller_did_not_wait_for() -> None:
    session = offered()
    out = session.receive(status("no-answer"), 1)
    assert sent(out) == [ack("m0", {"verb": "pause", "length": 1})]
    assert session.state is ControlState.ENDING


def test_holding_verbs_are_checked_when_they_are_chosen() -> None:
    with pytest.raises(ValueError, match="should not be empty"):
        ControlSettings(holding_verbs=())
    with pytest.raises(LocalProtocolError, match="property length"):
        ControlSettings(holding_verbs=(v.Pause(length="1"),))  # type: ignore[arg-type]
