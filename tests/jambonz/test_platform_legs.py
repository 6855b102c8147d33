"""The simulated jambonz: dialled parties, and calls ordered by REST."""

from __future__ import annotations

import pytest

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz.profile import JambonzProfile
from tests.jambonz.sim import ANSWER, Sim, begun, pause, play, running

DIAL = {"verb": "dial", "id": "d", "actionHook": "/done", "target": [{"type": "phone", "number": "3"}]}


def test_c53_dial_confirm() -> None:
    sim = running(ANSWER, DIAL | {"confirmHook": "/confirm", "tag": {"leg": "B"}}, notifies=False)
    assert sim.happen(h.FarEndRang()) == ["cs ringing of B"]
    assert sim.happen(h.FarEndAnswered()) == ["cs in-progress of B", "confirm /confirm"]
    assert sim.question["data"]["customerData"] == {"leg": "B"}
    assert sim.ack([play(hook=None)]) == []
    sim.wait(1)
    assert sim.happen(h.FarEndHungUp({"X-B": "1"})) == ["cs completed of B", "hook /done"]
    data = sim.question["data"]
    assert (data["dial_call_status"], data["dial_sip_status"], data["verb_id"]) == ("completed", 200, "d")
    assert sim.messages[-2][1]["data"]["headers"] == {"x_b": "1"}
    assert sim.ack([{"verb": "hangup"}]) == ["cs completed", "close 1000"]


@pytest.mark.parametrize("acks", [True, False])
def test_dial_confirm_acked_badly_or_not_hangs_b_up(acks: bool) -> None:
    sim = running(ANSWER, DIAL | {"confirmHook": "/confirm"}, notifies=False)
    sim.happen(h.FarEndAnswered())
    said = sim.ack([{"verb": "bogus"}]) if acks else sim.wait(5.1)
    assert said == ["cs completed of B", "hook /done"]


def test_c54_dial_busy() -> None:
    sim = running(ANSWER, DIAL, notifies=False)
    sim.happen(h.FarEndRang(183))
    assert sim.happen(h.FarEndRefused()) == ["cs busy of B", "hook /done"]
    data = sim.question["data"]
    assert (data["dial_call_status"], data["dial_sip_status"]) == ("busy", 486)
    assert sim.happen(h.FarEndRang()) == sim.happen(h.FarEndAnswered()) == sim.happen(h.FarEndHungUp()) == []


def test_dial_not_answered_in_time_and_dial_that_answers_the_caller() -> None:
    sim = running(DIAL | {"timeout": 3, "actionHook": {"url": "/done", "method": "POST"}}, notifies=False)
    assert sim.wait(3) == ["cs no-answer of B", "hook /done"]
    sim = running(DIAL | {"timeout": 3}, notifies=False)
    assert sim.happen(h.FarEndAnswered()) == ["cs in-progress of B", "cs in-progress"]
    assert sim.wait(60) == []


def test_55_the_caller_leaves_a_dial() -> None:
    sim = running(ANSWER, DIAL, notifies=False)
    sim.happen(h.FarEndAnswered())
    assert sim.hang_up() == ["cs completed", "cs completed of B", "hook /done"]
    assert sim.ack([pause(1, "never")]) == ["close 1000"]


def test_verbs_acked_to_the_hook_of_a_replaced_dial_are_ignored() -> None:
    sim = running(ANSWER, DIAL)
    sim.heard()
    assert sim.order("redirect", [pause(1, "n")]) == ["cs no-answer of B", "hook /done"]
    assert sim.ack([pause(1, "late")]) == ["finished d", "starting n"]


def test_c58_a_call_ordered_by_rest() -> None:
    sim = Sim(is_outbound=True, env_vars={"A_b": 1})
    assert sim.heard() == ["dial", "cs trying"]
    assert sim.happen(h.FarEndRang()) == ["cs ringing"]
    assert sim.happen(h.FarEndAnswered()) == ["cs in-progress", "session:new"]
    assert ["call_sid" in message for _, message in sim.messages] == [False, False, False, True]
    assert sim.question["data"]["env_vars"] == {"A_b": 1}
    assert sim.ack() == []
    assert sim.order("redirect", [ANSWER, {"verb": "hangup"}]) == ["cs completed", "close 1000"]


def test_a_call_ordered_by_rest_that_fails_or_is_acked_badly() -> None:
    sim = Sim(is_outbound=True)
    sim.heard()
    assert sim.order("tts:tokens", {"id": 1, "tokens": "a"}) == ["result 1 ok"]
    assert sim.happen(h.FarEndRefused()) == ["cs busy", "close 1000"]
    sim = Sim(is_outbound=True)
    sim.happen(h.FarEndAnswered())
    sim.heard()
    assert sim.ack([{"verb": "bogus"}]) == []
    assert sim.wait(60) == []


def test_what_happens_to_a_far_end_that_is_not_there() -> None:
    sim = running(ANSWER, pause(9), notifies=False)
    sim.heard()
    assert sim.happen(h.FarEndRang()) == sim.happen(h.FarEndAnswered()) == sim.happen(h.FarEndHungUp()) == []
    sim = running(ANSWER, notifies=False)
    assert sim.happen(h.FarEndAnswered()) == []


def test_dial_ends_when_its_callee_was_gone_before() -> None:
    sim = running(ANSWER, DIAL, pause(9, "n"), notifies=False)
    sim.happen(h.FarEndAnswered())
    sim.happen(h.FarEndHungUp())
    assert sim.hang_up() == ["cs completed"]
    assert sim.ack() == ["close 1000"]


def test_a_confirmed_callee_that_hangs_up_before_the_ack() -> None:
    sim = running(ANSWER, DIAL | {"confirmHook": "/confirm"}, notifies=False)
    sim.happen(h.FarEndAnswered())
    confirm = sim.question["msgid"]
    assert sim.happen(h.FarEndHungUp()) == ["cs completed of B", "hook /done"]
    assert sim.ack(msgid=confirm) == []


def test_a_confirmed_callee_that_refuses_before_the_ack() -> None:
    sim = running(ANSWER, DIAL | {"confirmHook": "/confirm"}, pause(9, "n"))
    sim.happen(h.FarEndAnswered())
    sim.heard()
    assert sim.happen(h.FarEndRefused()) == ["cs busy of B", "hook /done"]
    assert sim.ack() == ["finished d", "starting n"]
    # The ack that never comes is nobody's business by now.
    assert sim.wait(5.1) == []


def test_an_ordered_call_that_ends_while_it_rings() -> None:
    sim = Sim(is_outbound=True)
    sim.happen(h.FarEndRang())
    sim.heard()
    assert sim.happen(h.CallerHungUp()) == ["cs no-answer", "close 1000"]
    assert sim.did(h.Responded) == []


def test_an_ordered_call_whose_application_leaves_while_a_verb_waits_for_it() -> None:
    sim = Sim(is_outbound=True)
    sim.order("redirect", [{"verb": "redirect", "actionHook": "/x"}])
    sim.close(1005)
    assert sim.platform.running is None
    assert sim.platform.next_timeout() is None


def test_an_ordered_call_that_hears_nonsense_before_it_is_offered() -> None:
    sim = Sim(is_outbound=True)
    sim.heard()
    assert sim.happen(h.FarEndHungUp()) == []
    assert sim.platform.running is None


def test_the_end_is_told_once() -> None:
    sim = running(ANSWER, play(), notifies=False)
    sim.hang_up()
    assert sim.hang_up() == []
    assert sim.platform.profile.call_sid == "call-0001"
    assert sim.platform.receive_close(4000, sim.now, "restart")[0] == h.Logged("the application closed: restart")


def test_early_media_is_told_once() -> None:
    early = play(hook=None) | {"earlyMedia": True}
    sim = begun(early, early, notifies=False)
    assert sim.wait(1) == ["cs trying", "cs early-media"]


def test_a_hook_that_waits_to_be_sent_is_dropped_with_its_reconnect() -> None:
    sim = running(play(), pause(60), notifies=False)
    sim.close(4000)
    sim.wait(0.4)
    sim.heard()
    assert sim.close(4000) == ["dial", "cs completed"]
    assert sim.platform.next_timeout() is None


def test_49_a_leg_that_becomes_a_call_of_its_own() -> None:
    sim = Sim(parent={"call_sid": "a-1"}, url="ws://app/x#rc=2", call_sid="b-1")
    assert sim.heard() == ["dial", "session:adulting"]
    assert sim.did(h.DialLink)[0].url == "ws://app/x/adulting"
    assert "call_sid" not in sim.question
    assert sim.question["data"]["parent_call_info"] == {"call_sid": "a-1"}
    assert sim.ack([pause(1, "ignored")]) == []
    assert sim.order("redirect", [{"verb": "config", "notifyEvents": True}, pause(1, "a")]) == [
        "finished config",
        "starting a",
    ]
    assert sim.hang_up() == ["cs completed of B", "finished a", "close 1000"]


def test_a_leg_whose_application_does_not_ack_or_cannot_be_had() -> None:
    sim = Sim(parent={})
    sim.heard()
    assert sim.wait(5) == ["cs completed", "close 1000"]
    sim = Sim(parent={}, opens=False)
    sim.refuse(h.Refusal.SUBPROTOCOL)
    assert [request.method for request in sim.did(h.Requested)] == ["BYE"]
    assert sim.platform.next_timeout() is None


def test_many_calls_have_ids_of_their_own() -> None:
    sims = [Sim(JambonzProfile().for_call(number)) for number in range(2)]
    found = [sim.question["data"] for sim in sims]
    assert [data["call_sid"] for data in found] == ["call-0001", "call-0002"]
    assert found[0]["call_id"] != found[1]["call_id"]
    assert found[0]["sbc_callid"] != found[1]["sbc_callid"]
