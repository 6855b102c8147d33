"""What the application's end keeps of a call is bounded, in pieces and in size."""

from __future__ import annotations

import json

import pytest

from callstream_core.errors import LocalProtocolError
from callstream_core.events import PeerMisbehaved
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.limits import ControlLimits
from tests.jambonz.app import ack, hook, offered, rest, running, sent, status, text


def test_large_open_hooks_ack_the_oldest() -> None:
    session = running(limits=ControlLimits(max_owed_text=1000))
    session.receive(hook("a", note="x" * 300), 1)
    session.receive(hook("b", note="x" * 300), 1)
    out = session.receive(hook("c", note="x" * 300), 1)
    assert sent(out) == [ack("a")]
    assert w.Acked("a", w.AckReason.CROWDED) in out
    assert session.counters["crowded_out"] == 1
    assert [question.msgid for question in session.owed] == ["b", "c"]
    with pytest.raises(LocalProtocolError, match="too much waited for an ack"):
        session.send(o.Ack("a"), 1)
    session.send(o.Ack("b"), 1)
    assert sent(session.receive(hook("d", note="x" * 300), 1)) == [], "what is acked takes no room"


def test_one_hook_may_be_as_large_as_it_likes() -> None:
    session = running(limits=ControlLimits(max_owed_text=1000))
    assert sent(session.receive(hook("a", note="x" * 5000), 1)) == []
    assert sent(session.receive(hook("b"), 1)) == [ack("a")]


def test_large_commands_that_wait_are_refused() -> None:
    session = offered(limits=ControlLimits(max_held_text=1000))
    session.send(o.Ack("m0", [v.Answer()]), 0)
    order = o.Redirect([v.Say(text="x" * 600)])
    session.send(order, 0)
    with pytest.raises(LocalProtocolError, match="1 commands of 694 characters wait for jambonz to listen"):
        session.send(order, 0)
    assert len(sent(session.handle_timeout(0.1))) == 1
    session.send(order, 0.2)


def test_large_verbs_are_forgotten() -> None:
    session = running(limits=ControlLimits(max_verbs_text=1000))
    for name in "abc":
        session.send(o.Redirect([v.Say(text="x" * 350, id=name)], queue=True), 1)
    assert [bool(session.verb(name)) for name in "abc"] == [False, True, True]
    session.send(o.Redirect([v.Say(text="x" * 350, id="d")]), 1)
    session.send(o.Redirect([v.Say(text="x" * 350, id="e")]), 1)
    assert [bool(session.verb(name)) for name in "bcde"] == [False, True, True, True], "those that are interrupted, too"
    session.send(o.Redirect([v.Say(text="x", id="e")]), 1)
    assert session.verb("e") == v.Say(text="x", id="e"), "the same name again"


@pytest.mark.parametrize(
    "message",
    [
        text("verb:hook", msgid="x" * 257, hook="/h"),
        text("call:status", {"call_status": "trying"}, top="x" * 257),
        status("trying", leg="x" * 257),
    ],
)
def test_names_that_would_be_remembered_are_short(message: str) -> None:
    session = running()
    assert rest(session.receive(message, 1)) == [
        PeerMisbehaved(f"{'msgid' if 'hook' in message else 'call_sid'} of 257 characters; 256 are the most")
    ]


def test_an_event_knows_the_size_of_its_message() -> None:
    message = hook("a")
    [event] = running().receive(message, 1)
    assert isinstance(event, w.HookCalled)
    assert event.size == len(message)
    assert event == w.HookCalled(msgid="a", call_sid="c-1", hook="/played", data=json.loads(message)["data"])


def test_acks_are_remembered_within_bounds() -> None:
    session = running(limits=ControlLimits(max_settled=2))
    for name in "abc":
        session.receive(hook(name), 1)
        session.send(o.Ack(name), 1)
    with pytest.raises(LocalProtocolError, match="'c' cannot be acked: it was acked before"):
        session.send(o.Ack("c"), 1)
    with pytest.raises(LocalProtocolError, match="'a' cannot be acked: there is none that wants it"):
        session.send(o.Ack("a"), 1)
