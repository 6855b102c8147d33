"""The simulated jambonz: how a stack of verbs runs."""

from __future__ import annotations

import pytest

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz.verbs import Pause
from tests.jambonz.sim import ANSWER, Sim, begun, pause, play, running

C15 = (play(), pause(0.2, "z"))
GATHER = {"verb": "gather", "id": "g", "input": ["digits"], "numDigits": 2, "timeout": 1, "actionHook": "/digits"}


def test_c14_answer_pause_hangup() -> None:
    sim = begun(ANSWER, pause(0.2), {"verb": "hangup"}, notifies=False)
    assert sim.wait(0.1) == ["cs trying", "cs in-progress"]
    assert sim.wait(0.2) == ["cs completed", "close 1000"]
    data = sim.messages[-1][1]["data"]
    assert (data["call_termination_by"], data["duration"]) == ("jambonz", 0)


def test_c15_notify_events() -> None:
    sim = begun(*C15)
    assert sim.wait(0.4) == [
        "cs trying",
        "finished config",
        "starting p",
        "cs in-progress",
        "start-playback p",
        "hook /played",
    ]
    data = sim.question["data"]
    assert (data["verb_id"], data["reason"], data["playback_last_offset_pos"]) == ("p", "playCompleted", "0")
    assert sim.ack() == ["finished p", "starting z"]
    assert sim.wait(0.3) == ["finished z"]
    assert sim.wait(9) == []


def test_c16_ack_with_verbs_replaces_the_rest() -> None:
    sim = begun(*C15)
    sim.wait(0.4)
    assert sim.ack([pause(0.1, "new")]) == ["kill-playback p", "finished p", "starting new"]
    assert sim.wait(9) == ["finished new"]


def test_c17_hook_not_acked() -> None:
    sim = begun(*C15)
    sim.wait(0.4)
    asked = next(at for at, text in sim.log if text == "hook /played")
    assert sim.run(asked + 4.99) == []
    assert sim.run(asked + 5.01) == ["finished p", "starting z"]


def test_c18_hook_acked_with_an_unknown_verb() -> None:
    sim = begun(*C15)
    sim.wait(0.4)
    assert sim.ack([{"verb": "bogus"}]) == ["finished p", "starting z"]


def test_c19_gather_hook_acked_with_bad_verbs() -> None:
    sim = begun(GATHER, pause(0.2, "next"))
    sim.wait(1.1)
    assert sim.ack([{"verb": "say", "bad": 1}]) == [
        "error invalid actionHook response: say: unknown property bad",
        "cs in-progress error invalid actionHook response",
        "finished g",
        "starting next",
    ]
    told = {"msg": "invalid actionHook response", "details": "say: unknown property bad", "verb": "gather", "id": "g"}
    assert sim.messages[-4][1]["data"] == told
    assert sim.messages[-3][1]["data"]["reason"] == "say: unknown property bad"


def test_c20_gather_hook_not_acked() -> None:
    sim = begun(GATHER, pause(0.2, "next"))
    sim.wait(1.1)
    assert sim.wait(5) == [
        "error invalid actionHook response: ",
        "cs in-progress error invalid actionHook response",
        "finished g",
        "starting next",
    ]
    assert "details" not in sim.messages[-4][1]["data"]
    assert "reason" not in sim.messages[-3][1]["data"]


def test_c21_gather_digits() -> None:
    sim = running(GATHER | {"dtmfBargein": True})
    sim.heard()
    assert sim.happen(h.KeyPressed("1")) == ["dtmf-bargein-detected g"]
    assert sim.happen(h.KeyPressed("2")) == ["dtmf-bargein-detected g", "hook /digits"]
    data = sim.question["data"]
    assert (data["digits"], data["reason"], data["verb_id"]) == ("12", "dtmfDetected", "g")
    assert sim.happen(h.KeyPressed("3")) == []


def test_gather_ends_by_its_key_or_between_digits() -> None:
    sim = running(GATHER | {"finishOnKey": "#", "interDigitTimeout": 0.5, "timeout": 9})
    sim.happen(h.KeyPressed("1"))
    sim.happen(h.KeyPressed("#"))
    assert sim.question["data"]["digits"] == "1"
    sim = running(GATHER | {"interDigitTimeout": 0.5, "timeout": 9, "numDigits": 9})
    sim.happen(h.KeyPressed("1"))
    assert sim.wait(0.6) == ["hook /digits"]
    assert sim.question["data"]["digits"] == "1"


def test_gather_speech() -> None:
    sim = running(GATHER | {"input": ["speech"], "partialResultHook": "/partial"})
    sim.happen(h.KeyPressed("1"))
    assert sim.happen(h.CallerSpoke("hel", is_final=False)) == ["hook /partial"]
    assert sim.ack([pause(9)]) == []
    assert sim.happen(h.CallerSpoke("hello", 0.9)) == ["hook /digits"]
    assert sim.question["data"]["speech"]["alternatives"] == [{"transcript": "hello", "confidence": 0.9}]
    assert sim.happen(h.CallerSpoke("late")) == []
    sim = running(GATHER)
    assert sim.happen(h.CallerSpoke("unasked")) == []


def test_gather_goes_on_when_its_partial_hook_is_not_acked_or_not_there() -> None:
    gather = GATHER | {"input": ["speech"], "timeout": 9}
    sim = running(gather | {"partialResultHook": "/partial"})
    sim.happen(h.CallerSpoke("hel", is_final=False))
    sim.heard()
    assert sim.wait(5.1) == []
    assert sim.happen(h.CallerSpoke("hello")) == ["hook /digits"]
    sim = running(gather)
    sim.heard()
    assert sim.happen(h.CallerSpoke("hel", is_final=False)) == []
    assert sim.happen(h.CallerSpoke("hello")) == ["hook /digits"]


def test_c38_hangup_of_a_call_that_rings_is_skipped() -> None:
    sim = begun(pause(0.1), {"verb": "hangup"})
    assert sim.wait(9) == ["cs trying", "finished config", "starting pause", "finished pause", "starting hangup"]
    assert sim.hang_up() == ["cs no-answer", "close 1000"]


def test_c39_decline() -> None:
    sim = begun({"verb": "sip:decline", "status": 486, "reason": "Busy Here"})
    assert sim.wait(9) == [
        "cs trying",
        "finished config",
        "starting sip:decline",
        "cs failed",
        "finished sip:decline",
    ]
    assert sim.messages[-2][1]["data"]["sip_status"] == 486
    assert sim.did(h.Responded) == [h.Responded(status=486, reason="Busy Here")]


def test_decline_of_an_answered_call_is_skipped() -> None:
    sim = begun(ANSWER, {"verb": "sip:decline", "status": 486})
    assert sim.wait(1)[-1] == "starting sip:decline"


def test_c40_caller_cancels() -> None:
    sim = running(pause(9), notifies=False)
    sim.heard()
    assert sim.hang_up() == ["cs no-answer", "close 1000"]
    assert sim.messages[-1][1]["data"]["sip_status"] == 487
    sim = Sim()
    sim.heard()
    assert sim.hang_up() == []
    assert sim.ack([ANSWER, pause(0.2)]) == []
    assert sim.wait(1) == ["cs no-answer", "cs trying", "close 1000"]


def test_caller_cancels_and_no_ack_comes() -> None:
    sim = Sim()
    sim.hang_up()
    sim.wait(6)
    assert sim.rejection is None
    assert sim.platform.next_timeout() is None


def test_c41_no_status_hook() -> None:
    sim = running(ANSWER, notifies=False, has_status_hook=False)
    assert sim.heard() == []
    assert sim.hang_up() == ["close 1000"]


def test_c42_app_closes_1000_while_a_verb_runs() -> None:
    sim = running(ANSWER, pause(1))
    sim.heard()
    assert sim.close(1000) == []
    assert sim.did(h.Requested) == []
    assert sim.wait(1.1) == []
    assert [request.method for request in sim.did(h.Requested)] == ["BYE"]
    assert sim.platform.next_timeout() is None


def test_c43_app_closes_1000_while_idle() -> None:
    sim = running(ANSWER)
    sim.close(1000)
    sim.wait(600)
    assert sim.did(h.Requested) == []
    sim.hang_up()
    assert sim.platform.next_timeout() is None


def test_a_hook_after_a_close_1000_is_not_waited_for() -> None:
    sim = running(play())
    sim.close(1000)
    sim.wait(0.4)
    assert [request.method for request in sim.did(h.Requested)] == ["BYE"]


def test_c50_redirect_verb() -> None:
    redirect = {"verb": "redirect", "actionHook": "/next"}
    sim = running(ANSWER, redirect, pause(9, "never"))
    assert sim.heard() == []
    assert sim.question["hook"] == "/next"
    assert sim.ack([pause(0.1, "new")]) == ["finished redirect", "starting new"]
    sim = running(ANSWER, redirect, pause(9, "rest"))
    assert sim.ack() == ["finished redirect", "starting rest"]
    for acks in (False, True):
        sim = running(ANSWER, redirect)
        if acks:
            assert sim.ack([{"verb": "bogus"}]) == ["cs completed", "close 1000"]
        else:
            assert sim.wait(4.9) == []
            assert sim.wait(0.2) == ["cs completed", "close 1000"]


def test_c51_redirect_to_another_socket() -> None:
    sim = running(ANSWER, {"verb": "redirect", "actionHook": "ws://other/second"}, notifies=False)
    link, message = sim.messages[-1]
    assert (link, message["type"], "call_sid" in message) == (1, "session:redirect", False)
    assert sim.did(h.DialLink)[-1].url == "ws://other/second"
    assert sim.ack([{"verb": "config", "notifyEvents": True}, pause(0.2, "b")], link=1) == [
        "@1 finished config",
        "@1 starting b",
    ]
    assert sim.order("redirect", [pause(1, "lost")]) == []
    assert sim.wait(1) == ["@1 finished b"]
    sim.close(4002, link=1)
    assert sim.wait(0.6) == ["@1 dial", "@1 session:reconnect"]
    assert sim.question["data"] == {}
    sim.ack(link=1)
    assert sim.hang_up() == ["cs completed", "@1 close 1000", "close 1000"]


def test_redirect_to_a_socket_that_cannot_be_had_ends_the_call() -> None:
    sim = begun(ANSWER, {"verb": "redirect", "actionHook": {"url": "ws://other/"}}, notifies=False)
    sim.opens = False
    assert sim.wait(0.1) == ["cs trying", "cs in-progress", "@1 dial"]
    assert sim.refuse(h.Refusal.SUBPROTOCOL, link=1) == ["cs completed", "close 1000"]


def test_redirect_to_a_socket_that_cannot_be_had_after_the_caller_has_left() -> None:
    sim = begun(ANSWER, {"verb": "redirect", "actionHook": "ws://other/"}, notifies=False)
    sim.opens = False
    sim.wait(0.1)
    assert sim.hang_up() == ["cs completed"]
    assert sim.refuse(h.Refusal.SUBPROTOCOL, link=1) == ["close 1000"]
    assert sim.did(h.Requested) == []
    assert sim.messages[-1][1]["data"]["call_termination_by"] == "caller"


def test_redirect_to_the_web() -> None:
    sim = running(ANSWER, {"verb": "redirect", "actionHook": "http://web/next"})
    assert [asked.url for asked in sim.did(h.HttpRequested)] == ["http://web/next"]
    assert sim.happen(h.HttpAnswered()) == ["finished redirect"]


def test_48_http_hooks_are_not_seen_on_the_socket() -> None:
    sim = running(play(hook="http://web/played"), pause(5, "flushed"))
    sim.heard()
    assert sim.wait(0.4) == []
    assert sim.did(h.HttpRequested)[0].data["reason"] == "playCompleted"

    assert sim.happen(h.HttpAnswered((Pause(length=0.1, id="x"),))) == ["kill-playback p", "finished p", "starting x"]


def test_c59_leave_at_top_level() -> None:
    sim = begun(ANSWER, {"verb": "leave"}, pause(1, "after"))
    assert sim.wait(1)[-3:] == ["starting leave", "cs completed", "close 1000"]


def test_c60_notify_events_cannot_be_turned_off() -> None:
    sim = begun(ANSWER, {"verb": "config", "id": "off", "notifyEvents": False}, pause(0.1, "z"))
    assert sim.wait(1)[-4:] == ["starting off", "finished off", "starting z", "finished z"]


def test_c64_a_last_hook_that_is_not_acked_delays_the_close() -> None:
    sim = running(play(), notifies=False)
    sim.wait(0.1)
    sim.heard()
    assert sim.hang_up() == ["cs completed", "hook /played"]
    assert sim.question["data"]["call_status"] == "completed"
    assert sim.wait(4.9) == []
    assert sim.wait(0.2) == ["close 1000"]


def test_a_socket_lost_while_the_last_hook_waits_ends_it() -> None:
    sim = running(play(), notifies=False)
    sim.hang_up()
    sim.close(4000)
    sim.wait(0)
    assert sim.platform.next_timeout() is None


def test_a_last_hook_is_not_asked_where_nobody_is_there() -> None:
    sim = running(play(), notifies=False, clip_duration=9.0)
    sim.close(4000)
    sim.heard()
    assert sim.hang_up() == ["dial", "cs completed"]
    assert sim.platform.next_timeout() is None


def test_early_media_and_a_stack_that_ends_unanswered() -> None:
    sim = running(play() | {"earlyMedia": True, "actionHook": "/x"}, {"verb": "leave"}, notifies=False)
    assert [response.status for response in sim.did(h.Responded)] == [183]
    sim.wait(0.4)
    assert sim.ack() == ["cs failed", "close 1000"]
    assert sim.did(h.Responded)[-1].status == 603


@pytest.mark.parametrize(
    ("verb", "hook"),
    [
        ({"verb": "sip:request", "method": "INFO", "actionHook": "/h"}, {"result": "success"}),
        ({"verb": "sip:refer", "referTo": "sip:x@y", "actionHook": "/h"}, {"refer_status": 202}),
        ({"verb": "message", "to": "1", "from": "2", "actionHook": "/h"}, {"message_status": "success"}),
    ],
)
def test_verbs_that_report_at_once(verb: dict[str, object], hook: dict[str, object]) -> None:
    sim = running(ANSWER, verb, notifies=False)
    assert hook.items() <= sim.question["data"].items()


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ({"verb": "conference", "name": "c", "actionHook": "/h"}, ["hook /h"]),
        ({"verb": "enqueue", "name": "q", "actionHook": "/h"}, ["hook /h"]),
        ({"verb": "llm", "vendor": "openai", "llmOptions": {}, "actionHook": "/h"}, ["hook /h"]),
        ({"verb": "transcribe", "id": "t", "transcriptionHook": "/t"}, ["finished t", "starting n"]),
        ({"verb": "say", "id": "s", "text": ["long" * 99]}, ["kill-playback s", "finished s", "starting n"]),
        ({"verb": "say", "id": "s", "stream": True}, ["kill-playback s", "finished s", "starting n"]),
        ({"verb": "pause", "id": "a", "length": 9}, ["finished a", "starting n"]),
    ],
)
def test_how_other_verbs_are_killed(verb: dict[str, object], said: list[str]) -> None:
    sim = running(verb)
    sim.heard()
    assert sim.order("redirect", [pause(9, "n")]) == said


def test_verbs_end_by_themselves() -> None:
    say = {"verb": "say", "text": "hello", "id": "s"}
    sim = begun(say, {"verb": "tag", "data": {"Ab": 1}}, {"verb": "llm", "vendor": "openai", "llmOptions": {}})
    assert sim.wait(1) == [
        "cs trying",
        "finished config",
        "starting s",
        "cs in-progress",
        "start-playback s",
        "stop-playback s",
        "finished s",
        "starting tag",
        "finished tag",
        "starting Llm_OpenAI_s2s",
    ]
    assert sim.happen(h.VerbEnded({"completion_reason": "x"})) == ["finished Llm_OpenAI_s2s"]
    assert sim.happen(h.VerbEnded()) == []
    sim.hang_up()
    assert sim.messages[-1][1]["data"]["customerData"] == {"Ab": 1}


def test_listen_ends_by_key_or_length() -> None:
    listen = {"verb": "listen", "url": "ws://x", "actionHook": "/l", "finishOnKey": "#", "maxLength": 2}
    sim = running(listen)
    assert sim.happen(h.KeyPressed("1")) == []
    assert sim.happen(h.KeyPressed("#")) == ["hook /l"]
    assert sim.question["data"]["digits"] == "#"
    sim = running(listen | {"verb": "stream"})
    assert sim.wait(2) == ["hook /l"]
    assert sim.question["data"]["dial_call_duration"] == 2


def test_config_with_media_answers() -> None:
    assert "cs in-progress" in begun({"verb": "config", "bargeIn": {"enable": True}}).wait(1)


def test_play_that_repeats() -> None:
    sim = running(play() | {"loop": "forever", "url": ["a", "b"]}, notifies=False)
    assert sim.wait(99) == []
    sim = running(play() | {"loop": 2}, notifies=False, clips={"a.wav": 1})
    assert sim.wait(1.9) == []
    assert sim.wait(0.2) == ["hook /played"]
