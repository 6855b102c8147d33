"""The simulated jambonz: a dialled leg that becomes a call of its own, and calls that are only recorded."""

from __future__ import annotations

from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import verbs as v
from callstream_core.jambonz import words as w
from callstream_core.jambonz.control_session import ControlSession
from callstream_core.jambonz.profile import JambonzProfile
from callstream_core.outputs import Transmit
from tests.jambonz.sim import ANSWER, Sim, pause, running

DIAL = {"verb": "dial", "id": "d", "actionHook": "/done", "target": [{"type": "phone", "number": "3"}]}


def dialled(*rest: dict[str, Any]) -> Sim:
    """Return a call that talks to the party it has dialled."""
    sim = running(ANSWER, DIAL, *rest, url="ws://app/x?y=1#rc=2")
    sim.happen(h.FarEndAnswered())
    sim.heard()
    return sim


def begun(sim: Sim) -> list[JambonzProfile]:
    return [output.profile for output in sim.did(h.CallBegan)]


def test_a_leg_that_is_promoted_leaves_its_dial() -> None:
    sim = dialled(pause(9, "n"))
    assert sim.happen(h.FarEndPromoted()) == ["hook /done"]
    assert sim.question["data"]["dial_call_status"] == "in-progress"
    assert sim.ack() == ["finished d", "starting n"]
    assert sim.hang_up() == ["cs completed", "finished n", "close 1000"], "the other leg is up"
    [child] = begun(sim)
    assert child.target == "ws://app/x?y=1/adulting"
    assert child.max_connections == 2
    assert (child.call_sid, child.called, child.caller) == ("call-0001-b1", "3", "15550001")


def test_the_child_announces_itself_on_a_socket_of_its_own() -> None:
    sim = dialled()
    sim.happen(h.FarEndPromoted())
    [profile] = begun(sim)
    child = Sim(profile)
    assert child.heard() == ["dial", "session:adulting"]
    asked = child.question
    assert "call_sid" not in asked
    assert asked["data"]["call_sid"] == "call-0001-b1"
    assert (asked["data"]["direction"], asked["data"]["call_status"]) == ("outbound", "in-progress")
    assert asked["data"]["parent_call_info"]["call_sid"] == asked["data"]["parent_call_sid"] == "call-0001"
    assert child.ack([pause(1, "ignored")]) == []
    assert child.platform.running is None


def test_our_application_takes_the_child() -> None:
    sim = dialled()
    sim.happen(h.FarEndPromoted())
    child = Sim(begun(sim)[0])
    session = ControlSession(now=0)
    heard = [output for output in child.outputs if isinstance(output, Transmit)]
    out = session.receive(heard[0].message, 0)
    assert isinstance(out[0], w.LegPromoted)
    for output in out:
        if isinstance(output, Transmit):
            child.say(output.message)
    assert session.call_sid == "call-0001-b1"
    assert session.send(o.Redirect([v.Pause(length=1, id="a")]), 0) == [], "it waits until jambonz listens"
    for output in session.handle_timeout(0.1):
        assert isinstance(output, Transmit)
        child.say(output.message)
    assert child.platform.running == v.Pause(length=1, id="a")


def test_each_further_child_has_the_suffix_once_more() -> None:
    sim = dialled(DIAL | {"id": "e"})
    sim.happen(h.FarEndPromoted())
    sim.ack()
    sim.happen(h.FarEndAnswered())
    sim.happen(h.FarEndPromoted())
    assert [child.target for child in begun(sim)] == ["ws://app/x?y=1/adulting", "ws://app/x?y=1/adulting/adulting"]


def test_a_command_gives_the_child_verbs_and_ends_the_dial() -> None:
    sim = dialled(pause(9, "n"))
    assert sim.order("redirect", {"child_call_hook": "/child"}) == ["redirect /child"]
    assert sim.question["data"]["call_sid"] == "call-0001-b1"
    assert sim.ack([pause(1, "c")]) == ["hook /done"]
    assert sim.ack() == ["finished d", "starting n"]
    child = Sim(begun(sim)[0])
    child.ack()
    assert child.platform.running == v.Pause(length=1, id="c")


def test_a_command_for_both() -> None:
    sim = dialled()
    assert sim.order("redirect", {"call_hook": "/a", "child_call_hook": "/b"}) == ["redirect /a", "redirect /b"]
    first, second = (message["msgid"] for _, message in sim.messages[-2:])
    assert sim.ack([pause(1, "b")], msgid=second) == []
    assert sim.ack([pause(1, "a")], msgid=first) == ["hook /done"]
    assert sim.ack() == ["finished d", "starting a"]
    assert begun(sim)[0].first_verbs == (v.Pause(length=1, id="b"),)


def test_a_child_may_begin_without_verbs() -> None:
    sim = dialled()
    sim.order("redirect", {"child_call_hook": "/child"})
    assert sim.ack([]) == ["hook /done"]
    [child] = begun(sim)
    assert child.first_verbs == ()


def test_a_child_that_is_not_answered_for_is_hung_up_with_the_dial() -> None:
    sim = dialled()
    sim.order("redirect", {"child_call_hook": "/child"})
    assert sim.ack() == ["cs completed of B", "hook /done"]
    assert begun(sim) == []


def test_nothing_happens_without_all_acks_or_with_verbs_that_are_refused() -> None:
    sim = dialled()
    sim.order("redirect", {"child_call_hook": "/child"})
    assert sim.ack([{"verb": "sing"}]) == []
    sim.order("redirect", {"call_hook": "/a", "child_call_hook": "/b"})
    sim.heard()
    first = sim.messages[-2][1]["msgid"]
    sim.ack([pause(1, "a")], msgid=first)
    assert sim.wait(5.1) == []
    assert begun(sim) == []
    sim.order("redirect", {"call_hook": "/a", "child_call_hook": "/b"})
    first, second = (message["msgid"] for _, message in sim.messages[-2:])
    sim.heard()
    sim.ack([{"verb": "sing"}], msgid=first)
    assert sim.ack([pause(1, "b")], msgid=second) == [], "the child has gone, and the dial goes on"
    assert len(begun(sim)) == 1


def test_a_child_that_hangs_up_before_the_ack_is_none() -> None:
    sim = dialled()
    sim.order("redirect", {"child_call_hook": "/child"})
    asked = sim.question["msgid"]
    assert sim.happen(h.FarEndHungUp()) == ["cs completed of B", "hook /done"]
    assert sim.ack([pause(1)], msgid=asked) == []
    assert begun(sim) == []


def test_a_call_that_is_recorded_has_few_verbs() -> None:
    participants = [{"name": "a"}, {"name": "b"}]
    listen = {"verb": "listen", "id": "l", "url": "ws://x", "actionHook": "/l"}
    sim = running({"verb": "say", "text": "x"}, listen, participants=participants)
    assert sim.messages[0][1]["data"]["participants"] == participants
    assert sim.wait(0.1) == []
    assert isinstance(sim.platform.running, v.Listen)
    assert sim.order("redirect", [pause(1)]) == [], "nothing is left of that"
    assert sim.order("redirect", [pause(1), listen | {"id": "m"}]) == ["hook /l"]
    assert sim.ack([{"verb": "say", "text": "x"}]) == ["finished l", "starting m"], "and nothing of that"
    # What is queued, nobody looks at.
    assert sim.order("redirect", [pause(1, "q")], queueCommand=True) == []
    sim.happen(h.VerbEnded())
    assert sim.ack() == ["finished m", "starting q"]


def test_a_call_that_is_recorded_needs_a_verb_that_it_may_have() -> None:
    sim = Sim(participants=[])
    sim.heard()
    assert sim.ack([pause(1)]) == ["close 1001"]
    assert sim.rejection == "invalid verbs for incoming siprec call"
