"""Sinch's voice stream, case by case, from the answer on: signs of life, odd messages, the end."""

from __future__ import annotations

import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.closing import Outcome
from callstream_core.dialects.sinch import DIALECT, SinchProfile
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Transmit
from tests.dialects.test_sinch import (
    ANSWER,
    CLEAR,
    FRAME,
    HEARTBEAT,
    REJECT,
    answered,
    closed,
    connect,
    opened,
    platform,
    played,
    ringing,
    run,
)


def test_20_one_heartbeat_in_twenty_seconds_of_silence() -> None:
    app = answered()
    assert run(app, 20.0) == [(20.0, Transmit(HEARTBEAT))]
    assert run(app, 79.0) == [(40.0, Transmit(HEARTBEAT)), (60.0, Transmit(HEARTBEAT))]


def test_20_whatever_we_say_is_a_sign_of_life() -> None:
    app = answered()
    for number in range(1, 3000):
        assert app.send(c.SendAudio(FRAME), number * 0.02) == [Transmit(FRAME)]
        assert [output for _, output in run(app, number * 0.02) if isinstance(output, Transmit)] == []
    start = 2999 * 0.02
    app.send(c.ClearPlayout(), start + 15)
    # What only we do for the platform is not.
    app.send(c.PlaceMark("m"), start + 30)
    beats = [at for at, output in run(app, start + 60) if output == Transmit(HEARTBEAT)]
    assert beats == pytest.approx([start + 35, start + 55])
    assert app.send(c.KeepAlive(), start + 60) == [Transmit(HEARTBEAT)]
    assert run(app, start + 79) == []


def test_20_audio_on_the_fast_path_is_a_sign_of_life_too() -> None:
    app = answered(settings=PlayoutSettings(send_ahead=None))
    for number in range(1, 1500):
        assert app.send(c.SendAudio(FRAME), number * 0.02) == [Transmit(FRAME)]
        assert run(app, number * 0.02) == []
    [(at, said)] = run(app, 60.0)
    assert said == Transmit(HEARTBEAT)
    assert at == pytest.approx(1499 * 0.02 + 20)


def test_20_no_heartbeat_before_the_answer() -> None:
    app = ringing()
    with pytest.raises(LocalProtocolError):
        app.send(c.KeepAlive(), 1.0)


def test_21_a_silent_application_is_hung_up_on() -> None:
    session = platform()
    assert run(session, 100.0) == [(60.0, CloseLink(1000)), (60.0, closed(1000, "nothing heard for 60 s"))]
    assert session.outcome is Outcome.COMPLETED
    session = platform()
    for second in range(20, 200, 20):
        assert session.receive(HEARTBEAT, float(second)) == [c.KeepAlive()]
        assert run(session, second + 19) == []
    session.receive(FRAME, 200.0)
    assert run(session, 300.0)[-2] == (260.0, CloseLink(1000))


def test_22_unknown_messages_are_ignored() -> None:
    app = answered()
    for message in ('{"command":"new"}', HEARTBEAT, CLEAR, "{}", '{"command":7}'):
        assert app.receive(message, 1.0) == [e.MessageIgnored(message)]
    [broken] = app.receive("hello", 1.0)
    assert isinstance(broken, e.PeerMisbehaved)
    assert app.receive(FRAME, 1.1) == [e.AudioReceived(FRAME)]
    assert app.receive(b"", 1.2) == []
    assert app.counters == {"messages_ignored": 5, "misbehaved": 1}
    session = platform()
    for message in ('{"command":"new"}', "hello", "[]"):
        [note] = session.receive(message, 1.0)
        assert isinstance(note, e.PeerMisbehaved)
    assert session.state is State.OPEN


def test_22_a_simulated_call_can_say_anything() -> None:
    session = platform()
    assert session.send(e.MessageIgnored('{"command":"new"}'), 1.0) == [Transmit('{"command":"new"}')]


def test_23_samples_split_over_messages_heard_by_the_application() -> None:
    app = answered()
    data = bytes(range(256)) * 2 + bytes(128)
    odd = e.Tolerated("split_samples", "a message of 321 bytes ends in the middle of a sample")
    assert app.receive(data[:321], 1.0) == [e.AudioReceived(data[:320]), odd]
    # As long as half a sample waits, whole messages are shifted, too.
    assert app.receive(b"\x01\x02", 1.01) == [e.AudioReceived(data[320:321] + b"\x01")]
    first, second = app.receive(data[321:], 1.02)
    assert first == e.AudioReceived(b"\x02" + data[321:])
    assert isinstance(second, e.Tolerated)
    assert app.counters == {"split_samples": 2}
    assert app.receive(data[:320], 1.03) == [e.AudioReceived(data[:320])]
    assert app.receive(b"\x01", 1.04) == [
        e.Tolerated("split_samples", "a message of 1 bytes ends in the middle of a sample")
    ]


def test_23_samples_split_over_messages_heard_by_sinch() -> None:
    session = platform()
    data = bytes(range(256)) * 2 + bytes(128)
    odd = e.PeerMisbehaved("a message of 321 bytes ends in the middle of a sample")
    assert session.receive(data[:321], 0.001) == [c.SendAudio(data[:320]), odd]
    assert session.receive(b"", 0.001) == []
    assert len(session.receive(data[321:], 0.002)) == 2
    assert b"".join(frame.data for frame in played(run(session, 1.0))) == data
    session.receive(b"\x07", 1.0)
    session.receive(CLEAR, 1.1)
    session.receive(FRAME, 1.11)
    assert [frame.data for frame in played(run(session, 2.0))] == [FRAME]


def test_23_a_simulated_call_can_split_samples() -> None:
    session, app = platform(splits_samples=True), answered()
    data = bytes(range(250)) * 4
    heard = b""
    sizes = []
    for start in range(0, 1000, 250):
        for output in session.send(e.AudioReceived(data[start : start + 250]), 1.0):
            assert isinstance(output, Transmit)
            sizes.append(len(output.message))
            heard += b"".join(
                event.data for event in app.receive(output.message, 1.0) if isinstance(event, e.AudioReceived)
            )
    assert sizes == [249, 251, 249, 251]
    assert heard == data


def test_24_closes() -> None:
    assert answered().receive_close(1000, 1.0) == [CloseLink(1000), closed(1000, "normal end")]
    lost = [closed(None, "the connection was lost without a close", is_clean=False)]
    assert answered().receive_close(1006, 1.0) == lost
    assert answered().receive_close(None, 1.0) == lost
    assert ringing().receive_close(None, 1.0) == lost
    assert answered().receive_close(1005, 1.0) == [CloseLink(None), closed(1005, "closed without a code")]
    assert answered().receive_close(1011, 1.0)[1] == closed(1011, "internal error", is_clean=False)
    assert answered().receive_close(4000, 1.0)[1] == closed(4000, "close code 4000", is_clean=False)
    assert answered().receive_close(4000, 1.0, "moved")[1] == closed(4000, "moved", is_clean=False)


def test_24_closes_by_the_application() -> None:
    session = platform()
    assert session.receive_close(1005, 1.0) == [
        CloseLink(1000),
        closed(1005, "closed without a code", initiator=e.Side.APP),
    ]
    assert session.outcome is Outcome.COMPLETED
    session = platform()
    session.receive_close(1006, 1.0)
    assert session.outcome is Outcome.FAILED
    session = platform(is_answered=False)
    session.receive_close(1000, 1.0)
    assert session.outcome is Outcome.FAILED


def test_25_a_goodbye_is_never_cut() -> None:
    app = answered()
    app.send(c.SendAudio(bytes(32000)), 1.0)
    app.send(c.HangUp(c.When.AFTER_PLAYOUT), 1.0)
    [end] = [at for at, output in run(app, 9.0) if output == CloseLink(1000)]
    assert end == pytest.approx(3.02)
    app = answered()
    app.send(c.SendAudio(bytes(32000)), 1.0)
    assert app.send(c.HangUp(), 1.0) == [CloseLink(1000), closed(1000, "normal end", initiator=e.Side.APP)]


def test_26_max_duration() -> None:
    session = platform(max_duration=3.0, silence_timeout=3.0)
    assert run(session, 9.0) == [(3.0, CloseLink(1000)), (3.0, closed(1000, "nothing heard for 3 s"))]
    session = platform(max_duration=3.0)
    assert run(session, 9.0) == [(3.0, CloseLink(1000)), (3.0, closed(1000, "max duration of 3 s"))]
    assert session.outcome is Outcome.COMPLETED
    session = platform(is_answered=False, max_duration=3.0, answer_timeout=None)
    assert run(session, 9.0) == []
    with pytest.raises(ValueError, match="14400"):
        SinchProfile(max_duration=14401)


def test_27_digits_marks_and_the_rest() -> None:
    app = answered()
    for command, advice in (
        (c.SendDigit("1"), "send DTMF through the platform's own interface"),
        (c.PausePlayout(), "clear what is queued"),
        (c.ResumePlayout(), "no pause"),
        (c.RequestStatus(), "heard"),
        (c.SetDirection(e.Direction.IN), "when the call is set up"),
        (c.StopBuffering("m"), "cannot do StopBuffering"),
    ):
        with pytest.raises(Unsupported, match=advice):
            app.send(command, 1.0)
    app.send(c.SendAudio(bytes(3200)), 1.0)
    assert app.send(c.PlaceMark("m"), 1.0) == []
    assert app.send(c.ReportDrained(), 1.0) == []
    assert [output for _, output in run(app, 2.0)] == [
        e.MarkReached("m", is_estimated=True),
        e.PlayoutDrained(is_estimated=True),
    ]


def test_28_a_second_connect_changes_nothing() -> None:
    app = answered()
    repeated = e.Tolerated("repeated_connect", "a second connect was ignored")
    assert app.receive(connect(callId="other"), 1.0) == [repeated]
    assert opened(app).call_id == "c-71f0"
    assert app.receive(FRAME, 1.1) == [e.AudioReceived(FRAME)]


@pytest.mark.parametrize("word", ["text", "prompt"])
def test_29_a_text_relay_is_named(word: str) -> None:
    app = answered()
    [note] = app.receive(f'{{"command":"{word}","text":"hello"}}', 1.0)
    assert isinstance(note, e.PeerMisbehaved)
    assert "VOICE_RELAY" in note.reason
    assert "STREAM" in note.reason


def test_30_answer_then_reject() -> None:
    session = platform()
    assert session.receive(REJECT, 0.5) == [e.PeerMisbehaved("Reject while the session is open")]
    assert session.receive(ANSWER, 0.6) == [e.PeerMisbehaved("Answer while the session is open")]
    assert session.state is State.OPEN
    assert session.counters == {"misbehaved": 2}
    app = answered()
    for command in (c.Answer(), c.Reject()):
        with pytest.raises(LocalProtocolError, match="is not possible while the session is open"):
            app.send(command, 1.0)


# Calls that nobody can take


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"codec": "OPUS"}, "codec 'OPUS' is not PCM"), ({"sampleRate": 3999}, "3999 samples per second")],
)
def test_an_unusable_call_is_rejected_with_the_reason(changes: dict[str, object], reason: str) -> None:
    app = AppSession(DIALECT, now=0.0)
    event, ending, said = app.receive(connect(**changes), 0.1)
    assert isinstance(event, e.SessionOpened)
    assert event.capabilities.unusable == reason
    assert event.reply_format is None
    assert (ending, said) == (e.SessionEnding(reason), Transmit(REJECT))
    assert app.receive_close(1000, 0.2)[-1] == closed(1000, reason, initiator=e.Side.APP)


def test_an_unlisted_rate_is_taken() -> None:
    app = ringing(None, connect(sampleRate="11025"))
    assert opened(app).caller_format.frame_size == 440
    assert opened(app).caller_format.ptime == 220 / 11025


def test_nobody_need_decide_in_time() -> None:
    app = AppSession(DIALECT, limits=Limits(decision_timeout=None), now=0.0)
    app.receive(connect(), 0.0)
    assert app.next_timeout() is None
