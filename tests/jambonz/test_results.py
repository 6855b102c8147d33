"""What hooks report."""

from __future__ import annotations

from typing import Any

import pytest

from callstream_core.jambonz import results as r
from callstream_core.jambonz.words import HookCalled

SPEECH = {"is_final": True, "alternatives": [{"transcript": "hello", "confidence": 0.9}]}


@pytest.mark.parametrize(
    ("data", "result"),
    [
        ({"reason": "playCompleted", "playback_milliseconds": 303}, r.PlayEnded(True, 0.303)),
        ({"reason": "playFailed", "status": "fail"}, r.PlayEnded(False)),
        ({"reason": "dtmfDetected", "digits": "12"}, r.InputGathered(reason="dtmfDetected", digits="12")),
        (
            {"reason": "speechDetected", "speech": SPEECH},
            r.InputGathered(reason="speechDetected", transcript="hello", confidence=0.9),
        ),
        ({"reason": "error", "details": "x"}, r.InputGathered(reason="error", details="x")),
        ({"reason": "new to us"}, None),
        (
            {"dial_call_status": "busy", "dial_sip_status": 486, "dial_call_sid": "b"},
            r.DialEnded(status="busy", sip_status=486, leg="b"),
        ),
        ({"dial_call_duration": 3, "digits": "#"}, r.ListenEnded(3, "#")),
        ({"queue_result": "bridged", "queue_time": 7}, r.QueueLeft(result="bridged", waited=7)),
        ({"queue_size": 3, "queue_position": 1}, r.QueueWaits(size=3, position=1)),
        ({"dequeue_result": "timeout"}, r.QueueLeft(result="timeout")),
        (
            {"conference_sid": "c", "event": "join", "members": 2},
            r.ConferenceReported(event="join", sid="c", members=2),
        ),
        ({"completion_reason": "server error"}, r.LlmEnded("server error")),
        ({"refer_status": 202, "final_referred_call_status": 200}, r.ReferEnded(202, 200)),
        ({"message_sid": "m", "message_status": "success"}, r.MessageEnded("success", "m")),
        ({"result": "success", "sip_status": 200}, r.SipRequestEnded(True, 200)),
        ({"speech": SPEECH | {"is_final": False}}, r.SpeechTranscribed("hello", False)),
        ({"translation": {"alternatives": 5}}, r.SpeechTranscribed("")),
        ({"dtmf": "*2"}, r.KeysCaptured("*2")),
        ({"hold_detail": {"from": "a"}}, r.HoldChanged({"from": "a"})),
        ({"refer_details": {"refer_to_user": "800"}}, r.ReferAsked({"refer_to_user": "800"})),
        ({"refer_details": 5}, r.ReferAsked({})),
        ({"event": "transfer-status", "call_status": "ringing"}, r.ReferProgressed("ringing")),
        ({"event": "something else", "call_status": "ringing"}, None),
        ({"type": "amd_machine_detected", "reason": "hint"}, r.MachineDetected("machine_detected")),
        ({"type": "something else"}, None),
        ({"lex_result": "completed"}, r.DialogueEnded("completed")),
        ({"rasa_result": "failed"}, r.DialogueEnded("failed")),
        ({"transfer_result": "ok", "transfer_reason": "x"}, r.TransferEnded(result="ok", reason="x")),
        ({"call_status": "in-progress"}, None),
    ],
)
def test_results(data: dict[str, Any], result: r.Result | None) -> None:
    assert r.result_of(HookCalled(msgid="h", hook="/h", data=data)) == result
