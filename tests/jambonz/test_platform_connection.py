"""The simulated jambonz: dialling, the first ack, reconnects."""

from __future__ import annotations

import json

import pytest

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz.verbs import Pause
from tests.jambonz.sim import ANSWER, OPENING, Sim, begun, pause, play, running


def test_c1_handshake() -> None:
    sim = Sim()
    (dialled,) = sim.did(h.DialLink)
    assert dialled.subprotocol == "ws.jambonz.org"
    assert dialled.headers == {"User-Agent": "jambonz"}


def test_c2_basic_credentials() -> None:
    (dialled,) = Sim(username="u", password="p").did(h.DialLink)
    assert dialled.headers["Authorization"] == "Basic dTpw"


def test_c3_no_subprotocol() -> None:
    sim = Sim(opens=False)
    sim.refuse(h.Refusal.SUBPROTOCOL)
    assert sim.rejection == "Server sent no subprotocol"
    assert sim.did(h.Responded)[0].status == 480
    assert sim.platform.next_timeout() is None


def test_c4_unauthorized_is_tried_once() -> None:
    sim = Sim(opens=False)
    assert sim.refuse(h.Refusal.CLIENT_ERROR) == ["dial"]
    assert sim.rejection is not None
    assert "401" in sim.rejection


def test_c5_retries_of_a_server_error() -> None:
    sim = Sim(url="ws://app/x#rp=5xx&rc=2", opens=False)
    for _ in range(3):
        sim.refuse(h.Refusal.SERVER_ERROR)
        sim.wait(0 if sim.rejection else 1.2)
    assert [at for at, text in sim.log if text == "dial"] == [0, 0.5, 2.2]
    assert {dialled.url for dialled in sim.did(h.DialLink)} == {"ws://app/x"}
    assert sim.rejection is not None


def test_c6_connection_refused() -> None:
    sim = Sim(url="ws://app/x#rc=2", opens=False)
    for at in (0.5, 1.5, 1.5):
        sim.refuse(h.Refusal.CONNECTION)
        sim.run(at)
    assert [at for at, text in sim.log if text == "dial"] == [0, 0.5, 1.5]
    assert sim.rejection is not None


def test_c7_no_answer_to_the_upgrade() -> None:
    sim = Sim(opens=False)
    assert sim.run(1.4) == ["dial"]
    assert sim.run(9) == ["close None"]
    assert sim.rejection == "handshake timeout"


def test_c8_offer() -> None:
    sim = Sim()
    assert sim.heard() == ["dial", "session:new"]
    assert sim.question["call_sid"] == sim.question["data"]["call_sid"]
    sim.ack([ANSWER])
    sim.wait(1)
    msgids = [message["msgid"] for _, message in sim.messages]
    assert len(set(msgids)) == len(msgids) == 3


def rejected(*data: list[dict[str, object]]) -> str | None:
    """Return why jambonz rejects a call whose offer is acked so."""
    sim = Sim()
    sim.heard()
    assert sim.ack(*data) == ["close 1001"]
    assert sim.wait(9) == []
    assert sim.platform.next_timeout() is None
    return sim.rejection


def test_c9_first_ack_without_data() -> None:
    assert rejected() == "malformed jambonz payload: must be array"


def test_c10_first_ack_without_verbs() -> None:
    assert rejected([]) == "no application provided"


def test_c11_first_ack_with_an_unknown_verb() -> None:
    assert rejected([{"verb": "sing"}]) == "invalid instruction: sing"


def test_c12_first_ack_with_an_unknown_property() -> None:
    assert rejected([{"verb": "say", "text": "x", "nope": 1}]) == "say: unknown property nope"


def test_c13_no_first_ack() -> None:
    sim = Sim()
    sim.heard()
    assert sim.run(4.99) == []
    assert sim.run(5.01) == ["close 1001"]
    assert sim.rejection == "unknown"


def test_c32_oversize() -> None:
    sim = running(ANSWER, pause(9))
    empty = json.dumps({"type": "command", "command": "config", "data": {"_": ""}})
    assert sim.say(empty.replace('""', f'"{"y" * (24_576 - len(empty))}"')) == []
    assert sim.say(empty.replace('""', f'"{"y" * (24_577 - len(empty))}"')) == ["close 1009"]
    assert sim.wait(0.49) == []
    assert sim.wait(0.02) == ["dial", "session:reconnect"]


def test_c44_reconnect_after_a_close_without_code() -> None:
    sim = running(ANSWER, pause(0.1))
    offered = sim.question["data"]
    sim.wait(1)
    sim.heard()
    assert sim.close(1005) == []
    assert sim.wait(0.6) == ["dial", "session:reconnect"]
    assert sim.question["data"] == offered
    assert sim.ack() == []
    assert sim.hang_up() == ["cs completed", "close 1000"]


def test_c45_five_connections_and_no_more() -> None:
    sim = running(ANSWER)
    sim.heard()
    delays = []
    for _ in range(4):
        sim.close(4000)
        dropped = sim.now
        sim.run(sim.platform.next_timeout() or 0)
        sim.ack()
        delays.append(round(max(at for at, text in sim.log if text == "dial") - dropped, 3))
    assert delays == [0.5, 1, 2, 4]
    sim.close(4000)
    sim.heard()
    assert sim.wait(60) == []
    assert sim.hang_up() == ["dial", "cs completed"]
    assert sim.platform.next_timeout() is None


def test_c46_reconnect_not_acked() -> None:
    sim = running(ANSWER, pause(0.1), notifies=False)
    sim.wait(1)
    sim.close(4000)
    assert sim.wait(0.6) == ["dial", "session:reconnect"]
    assert sim.wait(4.8) == []
    assert sim.wait(0.2) == ["cs completed", "close 1000"]
    assert sim.messages[-1][1]["data"]["call_termination_by"] == "jambonz"


def test_c47_reconnect_lost_before_its_ack() -> None:
    sim = running(ANSWER, notifies=False)
    sim.heard()
    sim.close(4001)
    sim.wait(0.6)
    assert sim.close(4001) == ["dial", "cs completed"]
    assert sim.platform.next_timeout() is None
    assert sim.say({"type": "ack", "msgid": "x"}) == []


def test_c48_something_to_say_dials_at_once() -> None:
    sim = running(play(), notifies=False)
    sim.wait(0.1)
    sim.heard()
    sim.close(4000)
    assert sim.wait(0.25) == ["dial", "session:reconnect"]
    assert sim.ack() == ["hook /played"]


def test_c49_a_hook_on_its_way_is_not_repeated() -> None:
    sim = running(play(), pause(0.3, "after"))
    sim.wait(0.4)
    sim.heard()
    # What makes it dial goes behind what is queued meanwhile.
    assert sim.close(4001) == ["dial", "session:reconnect"]
    assert sim.ack() == ["starting after", "finished p"]
    assert sim.wait(1) == ["finished after"]


def test_a_close_1000_before_the_first_ack_rejects_the_call_when_its_time_is_up() -> None:
    sim = Sim()
    sim.close(1000)
    sim.heard()
    assert sim.wait(4.9) == []
    sim.wait(0.2)
    assert sim.rejection == "unknown"
    assert sim.platform.next_timeout() is None


def test_bug_25_a_socket_lost_before_the_first_ack() -> None:
    sim = Sim(loses_first_ack=True)
    sim.close(1011)
    sim.heard()
    assert sim.wait(0.6) == ["dial", "session:reconnect"]
    assert sim.ack([*OPENING, ANSWER, pause(0.2)]) == []
    assert sim.wait(1) == []
    assert sim.did(h.Responded)[0].status == 200
    assert sim.order("redirect", [play()]) == []
    assert sim.wait(9) == []


def test_a_socket_lost_before_the_first_ack_rejects_the_call() -> None:
    sim = Sim()
    sim.heard()
    assert sim.close(1011) == []
    assert sim.rejection == "the socket was lost before the first ack"
    assert sim.platform.next_timeout() is None


def test_each_question_has_its_own_deadline() -> None:
    sim = running(play(), pause(9, "z"))
    sim.wait(2)
    sim.order("redirect", {"call_hook": "/n"})
    sim.heard()
    assert sim.wait(3.5) == ["finished p", "starting z"]
    assert sim.ack([pause(1, "n")]) == ["finished z", "starting n"]


def test_27_an_application_that_stays_away_is_dialled_for_ever() -> None:
    sim = running(ANSWER, pause(0.1), notifies=False)
    sim.wait(0.4)
    sim.heard()
    dropped = sim.now
    sim.opens = False
    sim.close(None)
    for _ in range(5):
        at = sim.platform.next_timeout()
        assert at is not None
        sim.run(at)
        sim.refuse(h.Refusal.CONNECTION)
    times = [round(at - dropped, 3) for at, text in sim.log if text == "dial"][1:]
    assert times == [0.5, 1.5, 3.5, 7.5, 13.5]
    sim.heard()
    assert sim.hang_up() == ["dial"]
    assert sim.refuse(h.Refusal.CONNECTION) == []
    assert sim.platform.next_timeout() is None


def test_dialling_that_hangs_is_tried_again_where_there_was_a_socket() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.heard()
    sim.opens = False
    sim.close(None)
    assert sim.wait(0.6) == ["dial"]
    assert sim.wait(2.6) == ["close None", "dial"]


def test_a_graceful_close_while_a_reconnect_waits_ends_the_call_by_its_deadline() -> None:
    sim = running(ANSWER, notifies=False)
    sim.close(4000)
    sim.wait(0.6)
    sim.heard()
    assert sim.close(1000) == []
    sim.wait(5)
    assert sim.did(h.Requested)[-1].method == "BYE"
    assert sim.platform.next_timeout() is None


def test_a_socket_that_was_lost_is_not_lost_again() -> None:
    sim = running(ANSWER, notifies=False)
    sim.heard()
    sim.close(4000)
    assert sim.close(None) == []
    assert sim.refuse(h.Refusal.CONNECTION) == []
    assert sim.platform.link_opened(sim.now) == []
    assert sim.wait(0.6) == ["dial", "session:reconnect"]
    assert sim.ack(msgid="another") == []


def test_a_stall_of_the_last_dialling_is_the_end() -> None:
    sim = running(ANSWER, notifies=False)
    sim.close(4000)
    sim.opens = False
    sim.heard()
    assert sim.hang_up() == ["dial", "cs completed"][:1]
    assert sim.wait(2) == ["close None"]
    assert sim.platform.next_timeout() is None


def test_the_caller_leaves_while_the_first_socket_is_dialled() -> None:
    sim = Sim(opens=False)
    sim.hang_up()
    sim.refuse(h.Refusal.SUBPROTOCOL)
    assert sim.rejection is None
    assert sim.platform.next_timeout() is None
    sim = Sim(opens=False, is_outbound=True)
    sim.heard()
    assert sim.happen(h.FarEndRefused()) == ["close None"]


def test_calls_that_have_not_begun_or_are_over() -> None:
    sim = begun(ANSWER)
    with pytest.raises(Exception, match="begun before"):
        sim.platform.begin(0)
    sim.wait(1)
    sim.hang_up()
    with pytest.raises(Exception, match="closed"):
        sim.hang_up()
    assert sim.platform.handle_timeout(99) == []
    assert sim.platform.receive_close(1000, 99) == []


def test_an_ack_of_a_lost_socket_is_none() -> None:
    sim = running(ANSWER, play(), pause(9, "n"), loses_first_ack=True, notifies=False)
    sim.wait(0.4)
    sim.close(4000)
    assert sim.ack([pause(9, "late")]) == []
    assert sim.platform.running == Pause(length=9, id="n")


def test_nothing_is_lost_of_what_made_jambonz_dial_in_vain() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.close(4000)
    sim.opens = False
    sim.happen(h.SpeechConnected())
    sim.refuse(h.Refusal.CONNECTION)
    sim.happen(h.SpeechInterrupted())
    sim.heard()
    sim._take(sim.platform.link_opened(sim.now))
    sim.heard()
    assert sim.ack() == ["stream_open", "user_interruption"]


def test_the_last_word_is_the_call_s_own() -> None:
    dial = {"verb": "dial", "target": [{"type": "phone", "number": "3"}]}
    sim = running(ANSWER, dial, notifies=False)
    sim.close(4000)
    sim.opens = False
    sim.happen(h.SpeechConnected())
    sim.happen(h.CallerHungUp())
    sim.heard()
    sim._take(sim.platform.link_opened(sim.now))
    assert sim.heard() == ["cs completed"], "and not that of the dialled party"


def test_of_all_that_waits_only_the_last_status_is_said_when_the_call_is_over() -> None:
    for has_status_hook in (True, False):
        sim = running(ANSWER, notifies=False, has_status_hook=has_status_hook)
        sim.close(4000)
        sim.opens = False
        sim.heard()
        assert sim.happen(h.SpeechConnected()) == ["dial"]
        said = sim.hang_up()
        assert said == ([] if has_status_hook else ["close None"])
        sim._take(sim.platform.link_opened(sim.now))
        assert sim.heard() == (["cs completed"] if has_status_hook else [])
        assert sim.platform.next_timeout() is None
