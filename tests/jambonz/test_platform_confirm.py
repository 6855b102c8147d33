"""The simulated jambonz: verbs that a dialled party hears before it is joined to the caller."""

from __future__ import annotations

from typing import Any

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import verbs as v
from tests.jambonz.sim import ANSWER, Sim, pause, play, running

DIAL = {
    "verb": "dial",
    "id": "d",
    "actionHook": "/done",
    "confirmHook": "/confirm",
    "target": [{"type": "phone", "number": "3"}],
}
NOTIFY = {"verb": "config", "notifyEvents": True}
GATHER = {"verb": "gather", "id": "g", "input": ["digits"], "numDigits": 1, "actionHook": "/accept"}


def asked(*verbs: dict[str, Any], **options: Any) -> Sim:
    """Return a call whose dialled party has answered, and hears these verbs; the caller's phone still rings."""
    sim = running(DIAL | options, notifies=False)
    sim.happen(h.FarEndRang())
    sim.happen(h.FarEndAnswered())
    sim.heard()
    sim.ack([NOTIFY, *verbs])
    return sim


def test_the_parties_are_joined_when_the_verbs_have_run() -> None:
    sim = asked(play("p", None))
    assert sim.log[-3:] == [(0.021, "finished config"), (0.021, "starting p"), (0.021, "start-playback p")]
    assert sim.wait(0.29) == []
    assert sim.wait(0.02) == ["finished p", "cs in-progress"], "only now the caller is answered"
    assert sim.happen(h.FarEndHungUp()) == ["cs completed of B", "hook /done"]


def test_without_verbs_they_are_joined_at_once() -> None:
    sim = running(DIAL, notifies=False)
    sim.happen(h.FarEndAnswered())
    sim.heard()
    assert sim.ack([]) == ["cs in-progress"]


def test_hooks_of_these_verbs_tell_of_the_dialled_leg() -> None:
    sim = asked(GATHER)
    assert sim.happen(h.KeyPressed("9")) == [], "that was the caller"
    assert sim.happen(h.KeyPressed("1", is_callee=True)) == ["hook /accept"]
    asked_of = sim.question["data"]
    assert (asked_of["to"], asked_of["digits"], asked_of["parent_call_sid"]) == ("3", "1", "call-0001")
    assert sim.ack() == ["finished g", "cs in-progress"]


def test_a_hook_that_is_not_acked_joins_them_late() -> None:
    sim = asked(GATHER)
    sim.happen(h.KeyPressed("1", is_callee=True))
    assert sim.wait(4.9) == []
    assert sim.wait(0.2)[-2:] == ["finished g", "cs in-progress"]


def test_it_may_be_spoken_to() -> None:
    sim = asked(GATHER | {"input": ["speech"]})
    assert sim.happen(h.CallerSpoke("yes", is_callee=True)) == ["hook /accept"]


def test_verbs_that_replace_the_first_ones_are_few() -> None:
    sim = asked(GATHER)
    sim.happen(h.KeyPressed("2", is_callee=True))
    # The engine means to allow `play`, and misspells it.
    assert sim.ack([play("p"), pause(9), {"verb": "tag", "id": "t", "data": {}}]) == [
        "finished g",
        "starting t",
        "finished t",
        "cs in-progress",
    ]


def test_the_party_may_be_hung_up() -> None:
    sim = asked({"verb": "hangup", "id": "h"})
    assert sim.log[-3:] == [(0.021, "starting h"), (0.021, "cs completed of B"), (0.021, "hook /done")]
    assert sim.question["data"]["dial_call_status"] == "completed"


def test_what_cannot_be_refused_any_more_is_hung_up() -> None:
    sim = asked({"verb": "sip:decline", "status": 486})
    assert sim.log[-2:] == [(0.021, "cs completed of B"), (0.021, "hook /done")]


def test_the_party_that_hangs_up_meanwhile_ends_the_dial() -> None:
    sim = asked(GATHER)
    assert sim.happen(h.FarEndHungUp()) == ["cs completed of B", "hook /done"]
    assert sim.happen(h.KeyPressed("1", is_callee=True)) == []


def test_a_dial_that_is_replaced_meanwhile_asks_nobody() -> None:
    sim = asked(GATHER)
    assert sim.order("redirect", [pause(1)]) == ["cs completed of B", "hook /done"]
    assert sim.ack() == []
    assert isinstance(sim.platform.running, v.Pause)


def test_a_dial_without_a_hook_is_replaced_at_once() -> None:
    sim = asked(GATHER, actionHook="")
    assert sim.order("redirect", [pause(1)]) == ["cs completed of B"]
    assert isinstance(sim.platform.running, v.Pause)


def test_a_hook_of_the_web_may_answer_for_the_party() -> None:
    sim = asked(GATHER | {"actionHook": "https://web/accept"})
    sim.happen(h.KeyPressed("1", is_callee=True))
    assert [request.url for request in sim.did(h.HttpRequested)] == ["https://web/accept"]
    assert sim.happen(h.HttpAnswered()) == ["finished g", "cs in-progress"]


def test_a_redirect_of_the_party_asks_on_the_same_socket() -> None:
    sim = asked({"verb": "redirect", "actionHook": "/next"})
    assert sim.log[-1] == (0.021, "redirect /next")
    assert sim.question["data"]["to"] == "3"
    assert sim.ack([GATHER])[-1] == "starting g"


def test_a_bridge_has_its_time() -> None:
    sim = running(ANSWER, DIAL | {"timeLimit": 10, "confirmHook": ""}, notifies=False)
    sim.happen(h.FarEndAnswered())
    sim.heard()
    assert sim.wait(9.9) == []
    assert sim.wait(0.2) == ["cs completed of B", "hook /done"]


def test_a_dial_that_ends_leaves_nobody_on_the_line() -> None:
    sim = running(ANSWER, DIAL | {"confirmHook": ""}, pause(9, "n"), notifies=False)
    sim.happen(h.FarEndAnswered())
    sim.heard()
    assert sim.happen(h.VerbEnded({"note": 1})) == ["cs completed of B", "hook /done"]
    data = sim.question["data"]
    assert (data["dial_call_status"], data["note"]) == ("completed", 1)
    assert not sim.platform.call.runner.far.is_up


def test_early_media_and_statuses_of_a_leg_that_talks() -> None:
    sim = asked(play("p", None) | {"earlyMedia": True}, {"verb": "say", "text": "x", "id": "s"})
    assert sim.wait(1)[-1] == "cs in-progress", "it was answered before"
