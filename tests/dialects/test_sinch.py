"""Sinch's voice stream, case by case: this in, exactly that out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.closing import Outcome
from callstream_core.dialects.sinch import DIALECT, SinchProfile
from callstream_core.dialects.sinch.profile import RATES
from callstream_core.errors import LocalProtocolError
from callstream_core.limits import PlayoutSettings
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, FramePlayed, Output, Transmit
from callstream_core.platform_session import PlatformSession
from tests.pair import Pair

FRAME = bytes(range(160)) * 2
P3 = {
    "command": "connect",
    "version": 1,
    "callId": "c-71f0",
    "applicationKey": "app-5",
    "codec": "PCM",
    "sampleRate": 16000,
    "callHeaders": {"tenant": "blue"},
}
ANSWER, BUSY, REJECT, CLEAR, HEARTBEAT = (
    f'{{"command":"{name}"}}' for name in ("answer", "busy", "reject", "clear", "heartbeat")
)


def connect(**changes: Any) -> str:
    """Return the first message as Sinch writes it; None leaves a key out."""
    return json.dumps({key: value for key, value in (P3 | changes).items() if value is not None})


def ringing(profile: SinchProfile | None = None, message: str | None = None) -> AppSession:
    app = AppSession(DIALECT, profile, now=0.0)
    app.receive(connect(sampleRate=8000) if message is None else message, 0.0)
    assert app.state is State.RINGING
    return app


def answered(**arguments: Any) -> AppSession:
    app = AppSession(DIALECT, **arguments)
    app.receive(connect(sampleRate=8000), 0.0)
    assert app.send(c.Answer(), 0.0) == [Transmit(ANSWER)]
    return app


def platform(*, is_answered: bool = True, **options: Any) -> PlatformSession:
    session = PlatformSession(DIALECT, SinchProfile(**options))
    session.open(0.0)
    if is_answered:
        assert session.receive(ANSWER, 0.0) == [c.Answer()]
    return session


def run(session: AppSession | PlatformSession, until: float) -> list[tuple[float, Output]]:
    """Handle every timeout up to a moment."""
    out: list[tuple[float, Output]] = []
    while (due := session.next_timeout()) is not None and due <= until:
        out += [(due, output) for output in session.handle_timeout(due)]
    return out


def played(out: list[tuple[float, Output]]) -> list[FramePlayed]:
    return [output for _, output in out if isinstance(output, FramePlayed)]


def closed(code: int | None, reason: str, **changes: Any) -> e.SessionClosed:
    return e.SessionClosed(**({"initiator": e.Side.PLATFORM, "code": code, "reason": reason} | changes))


def opened(app: AppSession) -> e.SessionOpened:
    assert app.opened is not None
    return app.opened


# The handshake


def test_01_no_header_and_no_subprotocol() -> None:
    # What the upgrade itself is like: tests/trio/test_sinch.py.
    assert DIALECT.subprotocols == ()
    assert dialects.detect(path="/sinch") is DIALECT
    assert dialects.detect(connect()) is DIALECT
    assert dialects.detect('{"COMMAND":"Connect"}') is DIALECT
    assert dialects.detect('{"command":"answer"}') is None
    assert dialects.detect('{"command":1}') is None
    assert dialects.detect("connect") is None


def test_02_a_refused_upgrade_is_a_failed_leg() -> None:
    session = PlatformSession(DIALECT)
    assert session.receive_close(None, 0.0) == [
        closed(None, "the connection was lost without a close", initiator=e.Side.APP, is_clean=False)
    ]
    assert session.outcome is Outcome.FAILED
    assert DIALECT.attempts == 1


def test_03_connect_by_the_asyncapi_description() -> None:
    app = AppSession(DIALECT, now=0.0)
    [event] = app.receive(connect(), 0.1)
    assert event is app.opened
    found = opened(app)
    assert (found.dialect, found.profile, found.call_id) == ("sinch", "v2", "c-71f0")
    assert found.ids == {"callId": "c-71f0", "applicationKey": "app-5"}
    assert found.variables == {"tenant": "blue"}
    assert found.extras == {}
    assert found.caller_format == found.reply_format == SinchProfile(rate=16000).audio
    assert found.needs_answer
    assert app.state is State.RINGING


def test_04_connect_by_the_first_page() -> None:
    message = '{"command":"connect","CallId":"c","ApplicationId":"a","Headers":{"tenant":"blue"}}'
    found = opened(ringing(SinchProfile(rate=24000), message))
    assert (found.profile, found.call_id, found.caller_format.rate) == ("v1", "c", 24000)
    assert found.ids == {"CallId": "c", "ApplicationId": "a"}
    assert found.variables == {"tenant": "blue"}
    assert opened(ringing(None, message)).caller_format.rate == 8000


def test_05_connect_by_the_tutorials() -> None:
    found = opened(ringing(None, '{"command":"connect","callId":"c","applicationId":"a","headers":{"h":"1"}}'))
    assert (found.profile, found.call_id, found.variables) == ("tutorial", "c", {"h": "1"})


def test_06_headers_as_an_array() -> None:
    pairs = [{"key": "tenant", "value": "blue"}, {"key": "n", "value": 7}]
    found = opened(ringing(None, connect(callHeaders=pairs)))
    assert (found.profile, found.variables, found.extras) == ("v2-array", {"tenant": "blue", "n": "7"}, {})


def test_06_repeated_and_broken_headers_are_tolerated_and_kept() -> None:
    pairs: list[Any] = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}, {"key": 3}, "x"]
    app = AppSession(DIALECT)
    event, oddity = app.receive(connect(callHeaders=pairs), 0.0)
    assert isinstance(event, e.SessionOpened)
    assert (event.variables, event.extras) == ({"a": "2"}, {"callHeaders": pairs})
    assert oddity == e.Tolerated("odd_headers", "some headers are repeated, or are no headers")
    assert opened(ringing(None, connect(callHeaders="none"))).extras == {"callHeaders": "none"}


def test_07_unknown_keys_and_a_version_in_quotes() -> None:
    app = AppSession(DIALECT)
    [event] = app.receive(connect(version="1", region="eu", nested={"a": [1]}, callId=None), 0.0)
    assert isinstance(event, e.SessionOpened)
    assert event.extras == {"region": "eu", "nested": {"a": [1]}}
    assert event.call_id == ""
    _, oddity = AppSession(DIALECT).receive(connect(version=2), 0.0)
    assert oddity == e.Tolerated("unknown_version", "version '2' is taken for 1")


def test_08_audio_before_connect_is_dropped() -> None:
    app = AppSession(DIALECT, now=0.0)
    assert app.receive(FRAME, 0.1) == [e.Tolerated("audio_before_answer", "320 bytes of audio were dropped")]
    assert app.state is State.OPENING
    assert app.receive('{"command":"hello"}', 0.1) == [e.MessageIgnored('{"command":"hello"}')]
    [event] = app.receive(connect(), 0.2)
    assert isinstance(event, e.SessionOpened)
    assert app.receive(FRAME[:-1], 0.3) == [e.Tolerated("audio_before_answer", "319 bytes of audio were dropped")]
    assert app.counters == {"audio_before_answer": 2, "messages_ignored": 1}
    app.send(c.Answer(), 0.4)
    # It is never delivered later, not even its odd half of a sample.
    assert app.receive(FRAME, 0.5) == [e.AudioReceived(FRAME)]


def test_09_no_connect_in_time() -> None:
    app = AppSession(DIALECT, now=0.0)
    assert run(app, 9.99) == []
    assert run(app, 60.0) == [
        (10.0, e.PeerMisbehaved("no opening message within 10 s")),
        (10.0, CloseLink(1002, "no opening message")),
        (10.0, closed(1002, "no opening message", initiator=e.Side.APP, is_clean=False)),
    ]


# The decision


def test_10_a_wrong_token_is_rejected_once() -> None:
    app = ringing()
    assert app.send(c.Reject("forbidden"), 0.5) == [Transmit(REJECT)]
    for command in (c.Answer(), c.Reject()):
        with pytest.raises(LocalProtocolError, match="while the session is ending"):
            app.send(command, 0.6)
    assert app.receive(FRAME, 0.7) == [e.Tolerated("audio_before_answer", "320 bytes of audio were dropped")]
    [(at, close), (_, end)] = run(app, 60.0)
    assert (at, close) == (5.5, CloseLink(1000))
    assert isinstance(end, e.SessionClosed)
    assert not end.is_clean


def test_11_busy() -> None:
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT), delay=0.01)
    pair.open()
    pair.say(c.Reject("busy"))
    pair.run(1.0)
    assert pair.platform.outcome is Outcome.BUSY
    assert pair.platform_heard(c.Reject) == [c.Reject("busy")]
    assert pair.app_heard(e.AudioReceived) == []
    assert pair.heard_by_app[-1][1] == closed(1000, "rejected: busy", initiator=e.Side.APP)


def test_11_reject() -> None:
    session = platform(is_answered=False)
    assert session.receive(REJECT, 0.5) == [
        c.Reject(),
        CloseLink(1000),
        closed(1000, "normal end", initiator=e.Side.APP),
    ]
    assert session.outcome is Outcome.REJECTED
    # Applications close right behind it.
    assert session.receive_close(1008, 0.6) == []


def test_12_no_reply() -> None:
    session = platform(is_answered=False)
    reason = "no answer within 10 s"
    assert run(session, 60.0) == [(10.0, CloseLink(1000)), (10.0, closed(1000, reason))]
    assert session.outcome is Outcome.NO_ANSWER


def test_12_we_reject_in_time_what_the_application_does_not_decide() -> None:
    app = ringing()
    reason = "not answered within 5 s"
    assert run(app, 5.5) == [(5.0, e.SessionEnding(reason)), (5.0, Transmit(REJECT))]
    assert app.receive_close(1000, 5.6) == [CloseLink(1000), closed(1000, reason, initiator=e.Side.APP)]


def test_13_the_caller_gives_up() -> None:
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT))
    pair.open()
    pair.say_event(e.SessionEnding())
    pair.run(1.0)
    assert pair.platform.outcome is Outcome.CANCELLED
    assert pair.heard_by_app[-1][1] == closed(1000, "the caller gave up before the answer")
    with pytest.raises(LocalProtocolError, match="closed"):
        pair.say(c.Answer())
    assert pair.app.next_timeout() is None


def test_14_no_audio_before_the_answer() -> None:
    app = ringing()
    with pytest.raises(LocalProtocolError, match="SendAudio is not possible while the session is ringing"):
        app.send(c.SendAudio(FRAME), 0.1)
    assert app.send(c.Answer(), 0.2) == [Transmit(ANSWER)]
    assert app.send(c.SendAudio(FRAME), 0.3) == [Transmit(FRAME)]
    session = platform(is_answered=False)
    assert session.receive(FRAME[:-1], 0.1) == [e.PeerMisbehaved("SendAudio while the session is ringing")]
    with pytest.raises(LocalProtocolError, match="AudioReceived"):
        session.send(e.AudioReceived(FRAME), 0.2)


# Audio


@pytest.mark.parametrize("rate", RATES)
def test_15_fifty_frames_a_second(rate: int) -> None:
    profile = SinchProfile(rate=rate)
    pair = Pair(AppSession(DIALECT, now=0.0), PlatformSession(DIALECT, profile), delay=0.01)
    pair.open()
    pair.say(c.Answer())
    pair.run(0.1)
    size = profile.audio.frame_size
    assert size == rate // 50 * 2
    assert rate != 44100 or size == 1764
    frames = [bytes([number]) * size for number in range(50)]
    for frame in frames:
        pair.say_event(e.AudioReceived(frame))
        pair.run(profile.audio.ptime)
    pair.run(0.1)
    assert pair.app_heard(e.AudioReceived) == [e.AudioReceived(frame) for frame in frames]
    assert profile.audio.ptime == 0.02
    assert pair.app.counters == {}


def test_16_three_seconds_in_one_message() -> None:
    session = platform()
    data = bytes(n % 251 for n in range(48000))
    assert session.receive(data, 1.0) == [c.SendAudio(data)]
    frames = played(run(session, 9.0))
    assert b"".join(frame.data for frame in frames) == data
    assert frames[-1].at + 0.02 - 1.0 == pytest.approx(3.0, abs=0.0201)


def test_16_pieces_of_any_size_are_one_stream() -> None:
    session = platform()
    for number, size in enumerate((2, 700, 318, 0, 10)):
        session.receive(bytes([number]) * size, 0.001)
    frames = played(run(session, 1.0))
    assert [len(frame.data) for frame in frames] == [320, 320, 320, 70]
    assert frames[0].data[:3] == b"\x00\x00\x01"


def test_17_overflow_drops_the_oldest() -> None:
    session = platform()
    data = b"".join(n.to_bytes(4) for n in range(1_500_000))
    assert session.receive(data, 0.001) == [
        c.SendAudio(data),
        e.PeerMisbehaved("overflow: the oldest 1000000 bytes of audio were dropped"),
    ]
    assert session.playout.queue_length * 320 == 5_000_000
    assert played(run(session, 0.02))[0].data == data[1_000_000:1_000_320]
    small = platform(rate=44100, max_queue=5000)
    small.receive(bytes(5000), 0.001)
    assert small.counters == {}
    dropped = e.PeerMisbehaved("overflow: the oldest 1764 bytes of audio were dropped")
    assert small.receive(bytes(2), 0.002)[1] == dropped


def test_17_we_never_fill_more_than_half() -> None:
    app = answered(settings=PlayoutSettings(send_ahead=None))
    sent = sum(
        len(output.message) for output in app.send(c.SendAudio(bytes(4_000_000)), 0.0) if isinstance(output, Transmit)
    )
    assert 2_490_000 < sent <= 2_500_000


def test_18_clear() -> None:
    app = answered(settings=PlayoutSettings(send_ahead=None))
    app.send(c.SendAudio(bytes(48000)), 1.0)
    app.send(c.PlaceMark("end"), 1.0)
    text, mark, cleared = app.send(c.ClearPlayout(), 2.2)
    assert (text, mark) == (Transmit(CLEAR), e.MarkReached("end", e.MarkOutcome.CLEARED, is_estimated=True))
    assert isinstance(cleared, e.PlayoutCleared)
    assert cleared.discarded == pytest.approx(1.8)
    assert cleared.heard == pytest.approx(1.2)
    assert cleared.is_estimated
    assert app.backlog(2.2) == 0.0


def test_19_clearing_nothing() -> None:
    session = platform()
    assert session.receive(CLEAR, 0.5) == [c.ClearPlayout()]
    session.receive(bytes(3200), 0.6)
    session.receive(CLEAR, 0.7)
    assert run(session, 1.0) == []
