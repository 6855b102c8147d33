"""The application's end: verbs, their ids, their statuses."""

from __future__ import annotations

from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz.limits import ControlLimits
from tests.jambonz.app import hook, running, sent, text


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


def test_an_interruption_settles_hooks_alone() -> None:
    session = running()
    session.receive(text("dial:confirm", {"call_sid": "b-1"}, msgid="d", hook="/c"), 1)
    session.receive(hook("h1"), 1)
    assert [found.get("msgid") for found in sent(session.send(o.Redirect((v.Pause(length=1),)), 1))] == [None, "h1"]
    assert [question.msgid for question in session.owed] == ["d"]
