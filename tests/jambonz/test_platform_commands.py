"""The simulated jambonz: what it does with commands, and with messages that it cannot use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callstream_core.jambonz import happenings as h
from callstream_core.jambonz import words as w
from tests.jambonz.sim import ANSWER, OPENING, Sim, begun, pause, play, running


def test_c22_redirect_queues() -> None:
    sim = running(ANSWER, pause(1, "a"))
    sim.heard()
    assert sim.order("redirect", [pause(1, "b")], queueCommand=True) == []
    assert sim.wait(1.1) == ["finished a", "starting b"]


def test_c23_redirect_interrupts() -> None:
    sim = running(ANSWER, pause(3, "a"))
    sim.order("redirect", [pause(0.2, "b")], queueCommand=True)
    sim.heard()
    assert sim.order("redirect", [pause(0.2, "c"), pause(0.2, "d")]) == ["finished a", "starting c"]
    assert sim.wait(9) == ["finished c", "starting d", "finished d"]


def test_c24_queueing_wakes_an_idle_call() -> None:
    sim = running(ANSWER)
    sim.heard()
    assert sim.order("redirect", [pause(0.1, "q1")], queueCommand=True) == ["starting q1"]
    assert sim.order("redirect", [pause(0.1, "q2")], queueCommand=True) == []
    assert sim.wait(1) == ["finished q1", "starting q2", "finished q2"]


def test_queueing_has_a_bound() -> None:
    sim = running(ANSWER, pause(1, "a"), max_stack=1)
    sim.order("redirect", [pause(0, "b")], queueCommand=True)
    sim.order("redirect", [pause(0, "c")], queueCommand=True)
    sim.heard()
    assert sim.wait(2) == ["finished a", "starting b", "finished b"]


def test_c25_redirect_with_an_invalid_verb() -> None:
    sim = running(ANSWER, pause(1, "a"))
    sim.heard()
    assert sim.order("redirect", [{"verb": "pause"}]) == []
    assert sim.wait(1.1) == ["finished a"]


def test_c26_redirect_with_nothing() -> None:
    sim = running(ANSWER, pause(1, "a"), pause(1, "b"))
    sim.heard()
    assert sim.order("redirect", []) == ["finished a"]
    assert sim.wait(60) == []


def test_c27_a_late_ack_with_verbs_overrides_a_redirect() -> None:
    sim = running(play())
    sim.wait(0.4)
    sim.heard()
    assert sim.order("redirect", [pause(1, "r")]) == ["kill-playback p"]
    assert sim.order("redirect", [pause(1, "r2")]) == []
    assert sim.ack([pause(1, "late")]) == ["finished p", "starting late"]
    assert sim.wait(9) == ["finished late"]


def test_c28_a_second_ack() -> None:
    sim = running(play(), pause(1, "z"))
    sim.wait(0.4)
    sim.ack()
    sim.heard()
    assert sim.ack([pause(1, "again")], msgid=sim.question["msgid"]) == []


BAD = [
    ("this is not json", "Unexpected token 'h', \"this is not json\" is not valid JSON"),
    ("null", "Cannot destructure property 'type' of 'obj' as it is null."),
    ('{"msgid":"x"}', "type property not supplied"),
    ('{"type":"nonsense"}', "invalid type property: nonsense"),
    ('{"type":"ack"}', "msgid not supplied"),
    ('{"type":"command","data":[]}', "command property not supplied"),
    ('{"type":"command","command":"redirect"}', "data property not supplied"),
    ('{"type":"command","command":"boostAudioSignal","data":0}', "data property not supplied"),
    ("[1,2]", "type property not supplied"),
    ('{"type":"ack"', "Unexpected end of JSON input"),
    ("nul", "Unexpected end of JSON input"),
    ('{"a":1}' + " " * 50 + "}", "Unexpected token '}', ...\"          }\" is not valid JSON"),
    ("\udc80", "Unexpected token '\udc80', \"\udc80\" is not valid JSON"),
    ('{"a":"\\ud800"}', 'Unexpected token \'{\', "{"a":"\\ud800"}" is not valid JSON'),
    ('{"a":NaN}', "Unexpected token"),
]


@pytest.mark.parametrize(("text", "details"), BAD)
def test_c29_bad_messages(text: str, details: str) -> None:
    sim = running(ANSWER, pause(1, "a"))
    sim.heard()
    sim.say(text)
    ((_, message),) = sim.messages[-1:]
    assert message["type"] == "jambonz:error"
    shown = details.encode(errors="replace").decode()
    assert message["data"]["details"].encode(errors="replace").decode().startswith(shown)
    assert message["data"]["content"] == text.encode(errors="replace").decode()
    sim.heard()
    assert sim.wait(1.1) == ["finished a"]
    assert sim.platform.counters["misbehaved"] == 1


def test_c30_unknown_acks_and_commands() -> None:
    sim = running(ANSWER, pause(1, "a"))
    sim.heard()
    assert sim.ack([], msgid="unknown") == []
    assert sim.order("no:such", {}) == []
    assert sim.did(h.Logged)[-1] == h.Logged("no:such: no effect")


def test_c31_binary() -> None:
    sim = Sim()
    sim.heard()
    ack = {"type": "ack", "msgid": sim.question["msgid"], "data": [*OPENING, pause(0.2)]}
    sim.say(json.dumps(ack).encode())
    assert sim.wait(1) == ["cs trying", "finished config", "starting pause", "finished pause"]
    assert sim.say(b"\0\1\2\3")[0].startswith("error InvalidMessage: Unexpected token '\0'")


def test_c33_a_command_with_the_first_ack_is_lost() -> None:
    sim = begun(ANSWER, pause(9))
    assert sim.order("tts:tokens", {"id": "same-segment", "tokens": "b"}) == []
    sim.wait(0.1)
    assert sim.order("tts:tokens", {"id": "later", "tokens": "c"}) == ["result later ok"]
    assert sim.platform.counters["lost"] == 1


def test_c34_hang_up_by_command() -> None:
    sim = running(ANSWER, pause(9), notifies=False)
    sim.heard()
    assert sim.order("call:status", "completed") == []
    assert sim.order("call:status", {"call_status": "completed"}) == ["cs completed", "close 1000"]


def test_c35_refuse_by_command() -> None:
    sim = running(pause(9), notifies=False)
    sim.heard()
    assert sim.order("call:status", {"call_status": "completed"}) == []
    assert sim.order("call:status", {"call_status": "no-answer"}) == ["close 1000"]
    assert [response.status for response in sim.did(h.Responded)] == [503]


def test_c36_sip_request_flat_and_wrapped() -> None:
    sim = running(ANSWER, pause(9))
    flat = {"method": "INFO", "content_type": "text/plain", "content": "x"}
    sim.order("sip:request", flat)
    assert sim.did(h.Requested) == []
    sim.order("sip:request", {"sip_request": flat | {"headers": {"X-A": "b"}}})
    headers = {"X-A": "b", "Content-Type": "text/plain"}
    assert sim.did(h.Requested) == [h.Requested(method="INFO", headers=headers, body="x")]
    sim.order("dtmf", {"digit": "5"})
    sim.order("dtmf", {"dtmf": {"digit": "5", "duration": 300}})
    assert [request.body for request in sim.did(h.Requested)[1:]] == ["Signal=5\nDuration=300 "]
    ringing = running(pause(9))
    ringing.order("dtmf", {"dtmf": {"digit": "5"}})
    assert ringing.did(h.Requested) == []


def test_sip_request_without_content() -> None:
    sim = running(ANSWER, pause(9))
    sim.order("sip:request", {"sip_request": {"method": "OPTIONS"}})
    assert sim.did(h.Requested) == [h.Requested(method="OPTIONS")]


def test_sip_request_of_a_call_that_rings() -> None:
    sim = running(pause(9))
    sim.order("sip:request", {"sip_request": {"method": "INFO"}})
    assert sim.did(h.Requested) == []


def test_c37_recording() -> None:
    sim = running(ANSWER, pause(9))
    for action in ("pause", "start", "start", "pause", "resume", "stop"):
        data = {"action": f"{action}CallRecording", "recordingID": "r1", "siprecServerURL": ["sip:a", "sip:b"]}
        sim.order("record", data)
    found = [request.headers for request in sim.did(h.Requested)]
    assert [headers["X-Reason"].partition("Call")[0] for headers in found] == ["start", "pause", "resume", "stop"]
    assert found[0]["X-Srs-Url"] == "sip:a,sip:b"
    assert found[0]["X-Srs-Recording-ID"] == "r1"


def test_recording_without_particulars() -> None:
    sim = running(ANSWER, pause(9))
    sim.order("record", {"action": "startCallRecording"})
    assert set(sim.did(h.Requested)[0].headers) == {"X-Reason", "X-Call-Sid"}


def test_c52_redirect_by_hook() -> None:
    sim = running(ANSWER, pause(5, "a"), pause(5, "b"))
    sim.heard()
    assert sim.order("redirect", {"call_hook": "/n"}) == ["redirect /n"]
    assert sim.ack([pause(0.1, "new")]) == ["finished a", "starting new"]


def test_redirect_by_hook_acked_otherwise() -> None:
    for data, said in (((), ["finished a", "starting b"]), (([],), ["finished a"]), (([{"verb": "x"}],), [])):
        sim = running(ANSWER, pause(9, "a"), pause(9, "b"))
        sim.order("redirect", {"call_hook": "/n"})
        sim.heard()
        assert sim.ack(*data) == said
    sim = running(ANSWER, pause(9, "a"))
    sim.order("redirect", {"call_hook": "/n"})
    sim.heard()
    assert sim.wait(5.1) == []
    # Nobody was dialled, so nobody is asked, and then there is nothing for the caller, either.
    assert sim.order("redirect", {"child_call_hook": "/n"}) == ["finished a"]
    assert sim.order("redirect", {"child_call_hook": "/n"}) == []


def test_redirect_of_the_parent_and_of_the_child() -> None:
    sim = running(ANSWER, pause(9, "a"))
    sim.heard()
    both = {"parent_call": [pause(1, "p")], "child_call": [pause(1, "c")]}
    assert sim.order("redirect", both) == []
    assert sim.order("redirect", {"parent_call": [pause(1, "p")]}) == ["finished a", "starting p"]


def test_c55_tokens_without_a_stream() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.heard()
    full = "y" * 990
    assert sim.order("tts:tokens", {"tokens": "no id given"}) == []
    assert sim.order("tts:tokens", {"id": 1}) == ["result 1 failed missing tokens"]
    assert sim.order("tts:tokens", {"id": 2, "tokens": "   "}) == ["result 2 ok"]
    assert sim.order("tts:tokens", {"id": 3, "tokens": "Hello there. "}) == ["result 3 ok"]
    assert sim.order("tts:tokens", {"id": "four", "tokens": full}) == ["stream_paused", "result four failed full"]
    assert sim.order("tts:tokens", {"id": 5, "tokens": full[:987]}) == ["result 5 ok"]
    assert sim.order("tts:tokens", {"id": 6, "tokens": "z"}) == ["result 6 failed full"]
    assert sim.order("tts:flush") == sim.order("tts:clear") == []


def test_c56_a_full_sentence_resumes_before_its_result() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.heard()
    assert sim.order("tts:tokens", {"id": 1, "tokens": "Early tokens. "}) == ["result 1 ok"]
    assert sim.happen(h.SpeechConnected()) == ["stream_open"]
    assert [text.text for text in sim.did(h.TextSpoken)] == ["Early tokens. "]
    assert sim.order("tts:tokens", {"id": 2, "tokens": "n" * 990}) == ["result 2 ok"]
    assert sim.order("tts:tokens", {"id": 3, "tokens": "m" * 40}) == ["stream_paused", "result 3 failed full"]
    assert sim.order("tts:tokens", {"id": 4, "tokens": ". "}) == ["stream_resumed", "result 4 ok"]


def test_tokens_that_end_in_mid_sentence() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.happen(h.SpeechConnected())
    sim.order("tts:tokens", {"id": 1, "tokens": "One. And an unfin"})
    sim.wait(1.1)
    assert [text.text for text in sim.did(h.TextSpoken)] == ["One. ", "And an "]
    sim.order("tts:flush")
    sim.order("tts:tokens", {"id": 2, "tokens": "ished"})
    assert sim.did(h.TextSpoken)[-1].text == "unfinished"
    sim.order("tts:flush", {})
    sim.order("tts:tokens", {"id": 3, "tokens": "gone"})
    sim.order("tts:clear")
    sim.wait(2)
    sim.order("tts:tokens", {"id": 4, "tokens": "alone"})
    sim.wait(2)
    sim.order("tts:flush")
    assert sim.did(h.TextSpoken)[-1].text == "unfinished"
    sim.heard()
    assert sim.happen(h.SpeechInterrupted()) == ["user_interruption"]
    sim.happen(h.SpeechRefused("acme"))
    assert sim.order("tts:tokens", {"id": 5, "tokens": "x"}) == ["result 5 failed connection to acme failed"]


def test_a_flush_speaks_by_the_timer() -> None:
    sim = running(ANSWER, pause(60), notifies=False)
    sim.happen(h.SpeechConnected())
    sim.order("tts:tokens", {"id": 1, "tokens": "thought"})
    sim.order("tts:flush")
    sim.wait(1.1)
    assert [text.text for text in sim.did(h.TextSpoken)] == ["thought"]


LLM = {"verb": "llm", "vendor": "openai", "llmOptions": {}, "eventHook": "/e", "toolHook": {"url": "/t"}}


def test_c57_tool_call_and_events() -> None:
    sim = running(LLM, notifies=False)
    sim.happen(h.LlmCalledTool("t1", "weather", {"cityName": "Oslo"}))
    message = sim.messages[-1][1]
    assert message["data"] == {"tool_call_id": "t1", "name": "weather", "args": {"cityName": "Oslo"}}
    assert message["hook"] == "/t"
    sim.happen(h.LlmSaid({"type": "x", "turnDetection": [{"aB": 1}]}))
    message = sim.messages[-1][1]
    assert message["data"] == {"type": "x", "turn_detection": [{"a_b": 1}]}
    assert message["hook"] == "/e"
    assert sim.order("llm:tool-output", {"type": "x"}, tool_call_id="t1") == []
    sim = running(ANSWER)
    sim.heard()
    assert sim.happen(h.LlmSaid({})) == []


def test_c61_redirect_interrupts_a_play_with_a_hook() -> None:
    for acks in (True, False):
        sim = running(play(), clip_duration=9.0)
        sim.heard()
        assert sim.order("redirect", [pause(1, "n")]) == ["kill-playback p", "hook /played"]
        assert sim.question["data"]["reason"] == "playCompleted"
        if acks:
            assert sim.ack() == ["finished p", "starting n"]
        else:
            assert sim.wait(4.9) == []
            assert sim.wait(0.2) == ["finished p", "starting n"]


def test_c62_verbs_in_the_ack_of_an_interrupted_listen_override() -> None:
    sim = running({"verb": "listen", "id": "l", "url": "ws://x", "actionHook": "/listened"})
    sim.heard()
    assert sim.order("redirect", [pause(1, "n")]) == ["hook /listened"]
    assert sim.ack([pause(1, "v")]) == ["finished l", "starting v"]
    assert sim.wait(9) == ["finished v"]


def test_c63_an_interrupted_gather_asks_nobody() -> None:
    sim = running({"verb": "gather", "id": "g", "input": ["digits"], "actionHook": "/g"})
    sim.heard()
    assert sim.order("redirect", [play("n", None)]) == ["finished g", "starting n", "start-playback n"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mute:status", "mute"),
        ("conf:mute-status", {"conf_mute_status": "mute"}),
        ("conf:hold-status", {"conf_hold_status": "hold"}),
        ("conf:participant-action", {"action": "mute"}),
        ("whisper", {"whisper": {"verb": "play", "url": "x"}}),
        ("media:path", "no-media"),
        ("tag", {"a": 1}),
        ("transcribe:status", {"transcribe_status": "pause"}),
        ("listen:status", {"listen_status": "pause"}),
        ("llm:update", {"type": "x"}),
        ("dub", {"action": "addTrack", "track": "t"}),
    ],
)
def test_43_commands_out_of_place(name: str, data: Any) -> None:
    sim = running(ANSWER, pause(1, "a"))
    sim.heard()
    assert sim.order(name, data) == []
    assert sim.wait(1.1) == ["finished a"]


def test_35_whisper_into_a_listen() -> None:
    sim = running({"verb": "listen", "url": "ws://x"})
    sim.heard()
    assert sim.order("whisper", {"whisper": [{"verb": "play", "url": "w", "id": "w"}]}) == ["start-playback w"]
    assert sim.order("whisper", {"whisper": {"verb": "play", "url": "w"}}) == ["start-playback play"]


def test_config_by_command() -> None:
    sim = running(ANSWER, pause(0.5, "a"), notifies=False)
    sim.heard()
    sim.order("config", {"notifyEvents": True})
    assert sim.wait(1) == ["finished a"]


def test_a_message_may_be_said_as_it_stands() -> None:
    sim = running({"verb": "conference", "name": "c", "statusHook": "/s"}, notifies=False)
    sim.heard()
    event = w.HookCalled(msgid="any", hook="/s", data={"event": "join"})
    assert sim.happen(event) == ["hook /s"]
    assert sim.ack([pause(1)]) == []
    assert sim.close(1001, link=0) == []


def test_messages_that_are_too_deep() -> None:
    sim = running(ANSWER)
    assert sim.say("[" * 9000)[-1] == "error InvalidMessage: Unexpected end of JSON input"
