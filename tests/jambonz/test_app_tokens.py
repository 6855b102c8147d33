"""The application's end: text that is spoken as it comes."""

from __future__ import annotations

import pytest

from callstream_core.errors import LocalProtocolError
from callstream_core.jambonz import orders as o
from callstream_core.jambonz import words as w
from callstream_core.jambonz.limits import ControlLimits
from tests.jambonz.app import rest, running, sent, status, text


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
