"""The application's end: what it owes jambonz, case by case."""

from __future__ import annotations

import pytest

from callstream_core.errors import LocalProtocolError
from callstream_core.events import MessageIgnored, PeerMisbehaved, Side
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.control_state import ControlState, choose_subprotocol
from callstream_core.jambonz.limits import ControlLimits
from callstream_core.outputs import CloseLink, Transmit
from tests.jambonz.app import CALL, OFFER, ack, hook, offered, rest, running, sent, status, text

SAY = {"verb": "say", "text": "hi"}


def test_p1_an_offer_is_acked_once_with_verbs() -> None:
    session = offered()
    assert [question.msgid for question in session.owed] == ["m0"]
    for verbs in (None, (), o.Unusable("no array", {})):
        with pytest.raises(LocalProtocolError, match=r"jambonz (rejects|would refuse)"):
            session.send(o.Ack("m0", verbs), 1)
    with pytest.raises(LocalProtocolError, match="say: property text has invalid data type"):
        session.send(o.Ack("m0", [v.Say(text=5)]), 1)  # type: ignore[arg-type]
    assert sent(session.send(o.Ack("m0", [v.Say(text="hi")]), 1)) == [ack("m0", SAY)]
    with pytest.raises(LocalProtocolError, match="acked before"):
        session.send(o.Ack("m0", [v.Say(text="hi")]), 1)
    with pytest.raises(LocalProtocolError, match="none that wants it"):
        session.send(o.Ack("m77"), 1)


def test_p2_slow_application_is_covered_by_a_holding_ack() -> None:
    session = offered()
    assert session.next_timeout() == 3
    assert session.handle_timeout(2.9) == []
    out = session.handle_timeout(3)
    assert sent(out) == [ack("m0", {"verb": "pause", "length": 1})]
    assert rest(out) == [w.Acked("m0", w.AckReason.OVERDUE)]
    with pytest.raises(LocalProtocolError, match="no answer came in time"):
        session.send(o.Ack("m0", [v.Say(text="hi")]), 3)
    session.handle_timeout(3.1)
    (message,) = sent(session.send(o.Redirect((v.Say(text="hi"),)), 3.2))
    assert message == {"type": "command", "command": "redirect", "queueCommand": False, "data": [SAY]}


def test_p3_two_hooks_are_acked_in_any_order() -> None:
    session = running()
    session.receive(hook("h1"), 1)
    session.receive(hook("h2"), 1)
    assert sent(session.send(o.Ack("h2", [v.Pause(length=1)]), 1)) == [ack("h2", {"verb": "pause", "length": 1})]
    assert sent(session.send(o.Ack("h1"), 1)) == [ack("h1")]
    assert session.owed == []


def test_a_hook_without_an_answer_is_acked_in_time() -> None:
    session = running()
    session.receive(hook("h1"), 1)
    assert session.next_timeout() == 4
    out = session.handle_timeout(4)
    assert out == [Transmit('{"type":"ack","msgid":"h1"}'), w.Acked("h1", w.AckReason.OVERDUE)]


NOTICES = [
    status("ringing", "b-1"),
    text("verb:status", {"event": "starting", "name": "play"}),
    text("jambonz:error", {"msg": "InvalidMessage", "details": "x", "content": "y"}),
    text("llm:event", {"type": "x"}, hook="/e"),
    text("llm:tool-call", {"tool_call_id": "t", "name": "n"}, hook="/t"),
    text("agent:event", {}),
    text("agent:tool-call", {"tool_call_id": "t", "name": "n", "args": {"aB": 1}}),
    text("tts:tokens-result", {"id": 1, "status": "ok"}),
    text("tts:streaming-event", {"event_type": "stream_open"}),
]


@pytest.mark.parametrize("message", NOTICES)
def test_p4_notices_are_not_acked(message: str) -> None:
    out = running().receive(message, 1)
    assert len(out) == 1
    assert isinstance(out[0], w.Notice)
    assert not out[0].needs_ack


def test_p5_unknown_type() -> None:
    session = running()
    message = text("future:thing", {})
    assert session.receive(message, 1) == [MessageIgnored(message)]
    assert session.counters["messages_ignored"] == 1


@pytest.mark.parametrize(
    "message",
    ["{", b"\0\1", '{"type":"verb:hook","hook":"/x"}', text("verb:hook", []), "[]", text("call:status"), '{"type":1}'],
)
def test_p6_broken_messages(message: str | bytes) -> None:
    session = running()
    (out,) = session.receive(message, 1)
    assert isinstance(out, PeerMisbehaved)
    assert session.state is ControlState.RUNNING
    assert session.counters["misbehaved"] == 1


def test_too_many_broken_messages_close_the_socket() -> None:
    session = running(limits=ControlLimits(max_misbehaviour=2, max_text=50_000))
    session.receive("x" * 50_001, 1)
    session.receive("{", 1)
    out = session.receive("{", 1)
    assert out[1] == CloseLink(1002, "too many broken messages")
    assert isinstance(out[2], w.ControlClosed)
    assert session.receive("{", 1) == []


def test_p7_reconnect_of_a_known_call() -> None:
    old = running()
    old.receive(hook("h1"), 1)
    closed = old.receive_close(None, 2)[-1]
    assert isinstance(closed, w.ControlClosed)
    assert (closed.outcome, closed.redials, closed.call_continues) == (w.Outcome.LOST, w.Redial.SOON, True)
    session = ControlSession(now=2)
    with pytest.raises(LocalProtocolError, match="nothing can be resumed"):
        session.resume(old.memory)
    out = session.receive(text("session:reconnect", {"call_sid": "c-1", "call_status": "trying"}, msgid="r"), 3)
    assert sent(out) == [ack("r")]
    assert isinstance(out[0], w.SessionReconnected)
    assert out[-1] == w.Acked("r", w.AckReason.NO_VERBS_WANTED)
    session.resume(old.memory)
    assert session.memory.status is w.CallStatus.IN_PROGRESS
    assert session.memory.connections == 2
    assert session.owed == []
    with pytest.raises(LocalProtocolError, match="none that wants it"):
        session.send(o.Ack("h1"), 3)
    assert len(sent(session.send(o.Redirect((v.Pause(length=1),)), 3))) == 1


def test_p8_reconnect_of_an_unknown_call() -> None:
    session = ControlSession(now=0)
    out = session.receive(text("session:reconnect", {}, msgid="r", top=None), 0)
    assert sent(out) == [ack("r")]
    assert session.call_sid is None
    assert len(sent(session.send(o.Redirect((v.Say(text="again"),)), 0))) == 1
    assert session.next_timeout() is None


def test_p9_adulting() -> None:
    session = ControlSession(now=0)
    data = {"call_sid": "b-1", "call_status": "in-progress", "parent_call_info": {}}
    out = session.receive(text("session:adulting", data, msgid="a", top=None), 0)
    assert sent(out) == [ack("a")]
    assert session.call_sid == "b-1"
    assert session.send(o.Redirect((v.Say(text="hi"),)), 0) == []
    assert len(sent(session.handle_timeout(0.1))) == 1


def test_p10_redirect_as_the_first_message() -> None:
    session = ControlSession(now=0)
    out = session.receive(text("session:redirect", CALL, msgid="r", hook="/second", top=None), 0)
    assert isinstance(out[0], w.SessionRedirected)
    assert session.state is ControlState.OFFERED
    assert session.call_sid == "c-1"
    assert sent(session.send(o.Ack("r", [v.Pause(length=1)]), 0)) == [
        ack("r", {"verb": "pause", "id": "v1", "length": 1})
    ]


def test_p10_redirect_as_the_first_message_unanswered() -> None:
    session = ControlSession(now=0)
    session.receive(text("session:redirect", CALL, msgid="r", hook="/second", top=None), 0)
    assert sent(session.handle_timeout(3))[0]["data"]


def test_p11_statuses_before_the_offer() -> None:
    session = ControlSession(now=0)
    for state in ("trying", "ringing", "in-progress"):
        (out,) = session.receive(text("call:status", {"call_sid": "c-1", "call_status": state}, top=None), 0)
        assert isinstance(out, w.CallStatusChanged)
    assert session.state is ControlState.NEW
    offer = text("session:new", {"call_sid": "c-1", "direction": "outbound", "call_status": "in-progress"}, msgid="n")
    session.receive(offer, 1)
    assert session.memory.is_answered
    assert sent(session.send(o.Ack("n"), 1)) == [ack("n")]


def test_p11_a_socket_for_the_last_words_of_a_call() -> None:
    session = ControlSession(now=0)
    session.receive(status("completed", leg="b-1"), 0)
    assert session.next_timeout() == 300
    session.receive(status("completed"), 0)
    assert session.state is ControlState.ENDING
    assert session.handle_timeout(10)[0] == CloseLink(1000)


def test_p12_a_hook_after_completed_is_acked_at_once() -> None:
    session = running()
    session.receive(hook("h1"), 1)
    out = session.receive(status("completed"), 2)
    assert sent(out) == [ack("h1")]
    assert session.state is ControlState.ENDING
    out = session.receive(hook("h2", call_status="completed"), 2)
    assert isinstance(out[0], w.HookCalled)
    assert sent(out) == [ack("h2")]
    assert out[-1] == w.Acked("h2", w.AckReason.ENDING)
    out = session.receive_close(1000, 3)
    assert out[0] == CloseLink(1000)
    closed = out[1]
    assert isinstance(closed, w.ControlClosed)
    assert (closed.outcome, closed.redials, closed.initiator) == (w.Outcome.ENDED, w.Redial.NO, Side.PLATFORM)
    assert session.next_timeout() is None


def test_p12_a_last_hook_tells_of_the_end_where_statuses_do_not() -> None:
    session = running()
    out = session.receive(hook("h1", call_status="completed"), 2)
    assert sent(out) == [ack("h1")]
    assert session.state is ControlState.ENDING


@pytest.mark.parametrize("names", [True, False])
def test_p12a_a_hook_of_an_interrupted_verb_is_acked_at_once(names: bool) -> None:
    session = running(v.Play(url="a", action_hook="/played"), names=names)
    session.send(o.Redirect((v.Play(url="b", action_hook=v.Hook(url="/again")),)), 1)
    told = {"verb_id": "v1"} if names else {}
    out = session.receive(hook("h1", "/played", **told), 1.1)
    assert isinstance(out[0], w.HookCalled)
    assert sent(out) == [ack("h1")]
    assert out[-1] == w.Acked("h1", w.AckReason.INTERRUPTED)
    # The new verb's own hook is the application's to answer.
    told = {"verb_id": "v2"} if names else {}
    assert sent(session.receive(hook("h2", "/again", **told), 2)) == []
    assert [question.msgid for question in session.owed] == ["h2"]


def test_p12a_hooks_that_are_open_are_acked_behind_the_redirect() -> None:
    session = running(v.Gather(action_hook="/g"))
    session.receive(hook("h1", "/g"), 1)
    out = session.send(o.Redirect((v.Pause(length=1),)), 1)
    assert [message["type"] for message in sent(out)] == ["command", "ack"]
    assert out[-1] == w.Acked("h1", w.AckReason.INTERRUPTED)
    with pytest.raises(LocalProtocolError, match="would undo the redirect"):
        session.send(o.Ack("h1", [v.Pause(length=2)]), 1)


def test_p12a_the_same_hook_for_both_is_told_apart_by_ids_or_not_at_all() -> None:
    session = running(v.Play(url="a", action_hook="/p"))
    session.send(o.Redirect((v.Play(url="b", action_hook="/p"),)), 1)
    assert sent(session.receive(hook("h1", "/p"), 1)) == []
    session = running(v.Play(url="a", action_hook="/p"), names=True)
    session.send(o.Redirect((v.Play(url="b", action_hook="/p"),)), 1)
    assert sent(session.receive(hook("h1", "/p", verb_id="v1"), 1)) == [ack("h1")]
    assert sent(session.receive(hook("h2", "/p", verb_id="v2"), 1)) == []
    # Once the new verb has started, the old one has wound up.
    session.receive(text("verb:status", {"event": "starting", "id": "v2", "name": "play"}), 1)
    assert sent(session.receive(hook("h3", "/p", verb_id="v1"), 1)) == []


def test_p12a_the_ack_of_a_redirect_interrupts_too() -> None:
    session = running(v.Play(url="a", action_hook="/p"), names=True)
    session.send(o.RedirectByHook(call_hook="/n"), 1)
    session.receive(text("session:redirect", CALL, msgid="r", hook="/n"), 1)
    session.send(o.Ack("r", [v.Play(url="b")]), 1)
    assert sent(session.receive(hook("h1", "/p", verb_id="v1"), 1)) == [ack("h1")]


def test_p13_a_terminal_status_is_kept() -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.receive(status("no-answer"), 1)
    session.receive(status("trying"), 1)
    assert session.memory.status is w.CallStatus.NO_ANSWER
    assert session.state is ControlState.ENDING


def test_p14_statuses_of_other_legs() -> None:
    session = running(limits=ControlLimits(max_legs=2))
    for leg in ("b-1", "b-2", "b-3"):
        (out,) = session.receive(status("completed", leg), 1)
        assert isinstance(out, w.CallStatusChanged)
        assert out.leg == leg
    assert session.memory.status is w.CallStatus.IN_PROGRESS
    assert list(session.memory.legs) == ["b-2", "b-3"]


def test_p15_commands_before_the_first_ack() -> None:
    session = ControlSession(now=0)
    with pytest.raises(LocalProtocolError, match="not possible while the session is new"):
        session.send(o.FlushTokens(), 0)
    session.receive(OFFER, 0)
    with pytest.raises(LocalProtocolError, match="ack the offer first"):
        session.send(o.SendTokens(1, "x"), 0)
    session.send(o.Ack("m0", [v.Answer()]), 0)
    assert session.send(o.SetMute(True), 0) == []
    assert session.send(o.SendTokens(1, "x"), 0) == []
    assert session.next_timeout() == 0.1
    out = session.receive(status("trying"), 0.05)
    assert isinstance(out[0], w.CallStatusChanged)
    assert [message["command"] for message in sent(out)] == ["mute:status", "tts:tokens"]
    assert session.state is ControlState.RUNNING


def test_p15_without_a_status_hook_time_opens_the_gate() -> None:
    session = offered(limits=ControlLimits(max_held=1))
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.send(o.SetMute(True), 0)
    with pytest.raises(LocalProtocolError, match="send this one later"):
        session.send(o.SetMute(False), 0)
    assert session.handle_timeout(0.09) == []
    assert len(sent(session.handle_timeout(0.1))) == 1


def test_p15_a_hook_opens_the_gate_and_a_lost_socket_tells_what_had_not_left() -> None:
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.send(o.SetMute(True), 0)
    closed = session.receive_close(None, 0.01)[-1]
    assert isinstance(closed, w.ControlClosed)
    assert closed.unsent == (o.SetMute(True),)
    session = offered()
    session.send(o.Ack("m0", [v.Answer()]), 0)
    session.receive(hook("h1"), 0.05)
    assert session.state is ControlState.RUNNING


def test_p16_too_big_a_message() -> None:
    session = running()
    with pytest.raises(LocalProtocolError, match="24576 at most"):
        session.send(o.Redirect((v.Tag(data={"x": "y" * 24_576}),)), 1)
    assert session.memory.verbs == 1


def test_p18_subprotocols() -> None:
    assert choose_subprotocol(["x", "ws.jambonz.org"]) == "ws.jambonz.org"
    assert choose_subprotocol(["audio.jambonz.org"]) is None


def test_p20_users_data_is_verbatim() -> None:
    data = {"customerData": {"aB": 1}, "sip": {"headers": {"X-Y": "z"}}, "env_vars": {"Q_r": 1}, "args": {"cD": 2}}
    (event,) = ControlSession(now=0).receive(text("session:new", data, msgid="n"), 0)
    assert isinstance(event, w.SessionOffered)
    assert event.data == data


def test_dial_confirm_is_acked_without_verbs_by_default() -> None:
    session = running()
    session.receive(text("dial:confirm", {"call_sid": "b-1"}, msgid="d", hook="/c"), 1)
    session.receive(text("dial:confirm", {"call_sid": "b-2"}, msgid="e", hook="/c"), 1)
    assert sent(session.send(o.Ack("e", [v.Play(url="x", id="b")]), 1))[0]["data"]
    assert session.verb("b") == v.Play(url="x", id="b")
    assert sent(session.handle_timeout(4)) == [ack("d")]


@pytest.mark.parametrize(
    ("session", "message"),
    [
        (running(), OFFER),
        (running(), text("session:new", {}, msgid="n2")),
        (running(), text("session:reconnect", {}, msgid="r")),
        (offered(), hook("h")),
        (ControlSession(), hook("h")),
        (ControlSession(), text("dial:confirm", {}, msgid="d", hook="/x")),
        (offered(), text("session:redirect", {}, msgid="d", hook="/x")),
    ],
)
def test_questions_out_of_place(session: ControlSession, message: str) -> None:
    (out,) = session.receive(message, 1)
    assert isinstance(out, PeerMisbehaved)


def test_too_many_open_hooks_ack_the_oldest() -> None:
    session = running(limits=ControlLimits(max_debts=2))
    outs = [session.receive(hook(f"h{number}"), 1) for number in range(3)]
    assert sent(outs[2]) == [ack("h0")]
    assert [question.msgid for question in session.owed] == ["h1", "h2"]
