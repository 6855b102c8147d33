"""The application's end: what it owes jambonz, case by case."""

from __future__ import annotations

import attrs
import pytest

from callstream_core.commands import HangUp, When
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


def test_p18_subprotocols() -> None:
    assert choose_subprotocol(["x", "ws.jambonz.org"]) == "ws.jambonz.org"
    assert choose_subprotocol(["audio.jambonz.org"]) is None


def result(name: object, reason: str = "") -> str:
    data = {"id": name, "status": "failed", "reason": reason} if reason else {"id": name, "status": "ok"}
    return text("tts:tokens-result", data)


def tts(event: str) -> str:
    return text("tts:streaming-event", {"event_type": event})


def test_p19_full_is_kept_and_sent_again() -> None:
    session = running()
    assert len(sent(session.send(o.SendTokens(1, "one "), 1))) == 1
    assert session.send(o.SendTokens(2, "two "), 1) == []
    assert session.send(o.SendTokens(3, "three "), 1) == []
    session.send(o.FlushTokens(), 1)
    assert session.receive(tts("stream_paused"), 1)[0] == w.SpeechStreamChanged(
        msgid="m", call_sid="c-1", data={"event_type": "stream_paused"}
    )
    assert session.receive(result(1, "full"), 1) == []
    assert session.pending_tokens == 14
    out = session.receive(tts("stream_resumed"), 2)
    (message, flush) = sent(out) if len(sent(out)) == 2 else (*sent(out), None)
    assert message["data"] == {"id": 3, "tokens": "one two three "}
    assert flush is None
    out = session.receive(result(3), 2)
    assert [answer.id for answer in rest(out) if isinstance(answer, w.TokensAnswered)] == [1, 2, 3]
    assert [message["command"] for message in sent(out)] == ["tts:flush"]


def test_tokens_are_dropped_by_a_clear_or_the_caller() -> None:
    session = running()
    session.send(o.SendTokens(1, "a"), 1)
    session.send(o.SendTokens(2, "b"), 1)
    out = session.send(o.ClearTokens(), 1)
    assert out[0] == w.TokensDropped((2,))
    assert sent(out) == [{"type": "command", "command": "tts:clear"}]
    session.send(o.SendTokens(3, "c"), 1)
    out = session.receive(tts("user_interruption"), 1)
    assert out[1:] == [w.TokensDropped((3,))]
    # The first one was never answered.
    assert session.next_timeout() == 6
    assert session.handle_timeout(6) == [w.TokensDropped((1,))]
    assert isinstance(session.receive(result("unasked"), 6)[0], w.TokensAnswered)
    assert len(sent(session.send(o.SendTokens(4, "d"), 6))) == 1


def test_tokens_wait_within_bounds_and_travel_within_jambonz_buffer() -> None:
    session = running(limits=ControlLimits(max_pending_tokens=2000, max_pending_pieces=4))
    session.send(o.SendTokens(1, "x" * 900), 1)
    session.send(o.SendTokens(2, "y" * 900), 1)
    session.send(o.SendTokens(3, "z" * 900), 1)
    with pytest.raises(LocalProtocolError, match="wait to be spoken"):
        session.send(o.SendTokens(4, "z" * 900), 1)
    (message,) = sent(session.receive(result(1), 1))
    assert message["data"]["id"] == 2
    for name in range(3):
        session.send(o.SendTokens(f"n{name}", "."), 1)
    with pytest.raises(LocalProtocolError, match="4 pieces"):
        session.send(o.FlushTokens(), 1)
    with pytest.raises(LocalProtocolError, match="1000 at most"):
        session.send(o.SendTokens(9, "\U0001f600" * 501), 1)
    session.receive(status("completed"), 2)
    assert session.pending_tokens == 0


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


def test_statuses_follow_verbs_by_their_ids() -> None:
    session = running(v.Play(url="a", id="p"))
    session.receive(text("verb:status", {"event": "starting", "id": "p", "name": "play"}), 1)
    assert session.running == v.Play(url="a", id="p")
    session.receive(text("verb:status", {"event": "start-playback", "id": "p", "verb": "play"}), 1)
    session.receive(text("verb:status", {"event": "finished", "id": "p", "name": "play"}), 1)
    assert session.running is None
    session.receive(text("verb:status", {"event": "finished", "name": "play"}), 1)
    session.receive(text("jambonz:error", {"msg": "InvalidMessage"}), 1)
    assert session.counters["our_mistakes"] == 1


def test_verbs_are_remembered_within_bounds() -> None:
    session = running(limits=ControlLimits(max_verbs=3))
    session.send(o.Redirect([v.Pause(length=1, id=f"a{n}") for n in range(5)]), 1)
    session.send(o.Redirect([v.Pause(length=1, id=f"b{n}") for n in range(2)]), 1)
    session.send(o.Redirect([v.Pause(length=1, id="c")]), 1)
    known = [name for name in ("a3", "a4", "b0", "b1", "c") if session.verb(name)]
    assert known == ["a4", "b0", "b1", "c"]
    session.send(o.Redirect([v.Pause(length=1, id="d")], queue=True), 1)
    session.send(o.RedirectParent((v.Pause(length=1),)), 1)
    assert session.verb("d")


def test_verbs_get_ids_that_count_on() -> None:
    session = running(v.Answer(), v.Pause(length=1, id="mine"), names=True)
    (message,) = sent(session.send(o.Redirect((v.Answer(), v.RawVerb(name="room", properties={"a": 1}))), 1))
    assert message["data"] == [{"verb": "answer", "id": "v3"}, {"verb": "room", "a": 1}]
    (message,) = sent(session.send(o.Redirect((v.Answer(),), queue=True), 1))
    assert message["data"][0]["id"] == "v5"


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
