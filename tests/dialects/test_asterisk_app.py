"""The application's end against chan_websocket, case by case: this in, exactly that out."""

from __future__ import annotations

from typing import Any

import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialect import Clock, Support
from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Generation, Syntax
from callstream_core.errors import LocalProtocolError, Unsupported
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State
from callstream_core.outputs import CloseLink, Output, Transmit

PLAIN = (
    "MEDIA_START connection_id:conn1 channel:WebSocket/conn1/0x7f20 channel_id:1.0 "
    "format:{} optimal_frame_size:{} ptime:20"
)
JSON = (
    '{{"event":"MEDIA_START","connection_id":"conn1","channel":"WebSocket/conn1/0x7f20","channel_id":"1.0",'
    '"format":"{}","optimal_frame_size":{},"ptime":20,"channel_variables":{{"A":"1"}}}}'
)
FRAME = bytes(range(160))


def opened(
    start: str = PLAIN, format: str = "ulaw", frame_size: int = 160, *, profile: Any = None, **arguments: Any
) -> AppSession:
    """Return a session that has heard MEDIA_START at 0.0; it asks no questions by itself unless told to."""
    settings = PlayoutSettings(**{"status_interval": None, **arguments})
    app = AppSession(DIALECT, profile, settings=settings)
    [event] = app.receive(start.format(format, frame_size), 0.0)
    assert isinstance(event, e.SessionOpened)
    return app


def sent(outputs: list[Output]) -> list[str | bytes]:
    return [output.message for output in outputs if isinstance(output, Transmit)]


def said(outputs: list[Output]) -> list[Output]:
    return [output for output in outputs if not isinstance(output, Transmit)]


def run(app: AppSession, until: float) -> list[Output]:
    """Serve all timeouts up to a moment."""
    out: list[Output] = []
    while (due := app.next_timeout()) is not None and due <= until:
        out += app.handle_timeout(due)
    return out


@pytest.mark.parametrize(
    ("start", "mark"),
    [(PLAIN, "MARK_MEDIA m"), (JSON, '{"command":"MARK_MEDIA","correlation_id":"m"}'), (" \t" + JSON, None)],
)
def test_a01_the_first_text_chooses_the_syntax(start: str, mark: str | None) -> None:
    app = opened(start)
    assert app.opened is not None
    assert app.opened.profile == ("plain-text" if start is PLAIN else "json")
    [message] = sent(app.send(c.PlaceMark("m"), 0.0))
    assert message == (mark or '{"command":"MARK_MEDIA","correlation_id":"m"}')


@pytest.mark.parametrize(
    ("start", "channel_id"),
    [
        ("MEDIA_START connection_id:u channel:WebSocket/u/0x1 format:ulaw optimal_frame_size:160", None),
        ("MEDIA_START connection_id:u channel:WebSocket/u/0x1 format:ulaw optimal_frame_size:160 ptime:20", None),
        (PLAIN, "1.0"),
        (PLAIN + " passthrough:false unbuffered:false", "1.0"),
    ],
)
def test_a02_every_generation_of_media_start(start: str, channel_id: str | None) -> None:
    announced = opened(start).opened
    assert announced is not None
    assert announced.ids.get("channel_id") == channel_id
    assert announced.call_id == (channel_id or "WebSocket/u/0x1")
    assert (announced.caller_format.frame_size, announced.caller_format.ptime) == (160, 0.02)


def test_a03_a_channel_id_may_hold_spaces_and_colons() -> None:
    announced = opened(PLAIN.replace("channel_id:1.0", "channel_id:my call: 7 x:y")).opened
    assert announced is not None
    assert announced.call_id == "my call: 7 x:y"


def test_a04_what_is_unknown_is_passed_by() -> None:
    app = opened(JSON)
    assert app.receive('{"event":"DTMF_END","channel_id":"1.0","digit":"1","more":[1]}', 1.0) == [e.DigitReceived("1")]
    unknown = '{"event":"MEDIA_LATER","x":1}'
    assert app.receive(unknown, 1.0) == [e.MessageIgnored(unknown)]
    assert app.counters["messages_ignored"] == 1
    assert app.state is State.OPEN


def test_a05_audio_before_media_start_is_kept_within_bounds() -> None:
    limits = Limits(max_early_audio=320, max_early_messages=3)
    app = AppSession(DIALECT, limits=limits)
    assert app.receive(FRAME, 0.0) == app.receive(b"x" * 161, 0.0) == app.receive(FRAME, 0.0) == []
    assert app.counters == {"early_audio_kept": 2, "early_audio_dropped": 1}
    out = app.receive(PLAIN.format("ulaw", 160), 0.1)
    assert isinstance(out[0], e.SessionOpened)
    assert out[1:] == [e.AudioReceived(FRAME), e.AudioReceived(FRAME)]


@pytest.mark.parametrize("command", [c.SendAudio(FRAME), c.PlaceMark("m"), c.ClearPlayout(), c.HangUp(), c.Answer()])
def test_a06_nothing_is_said_before_media_start(command: c.Command) -> None:
    app = AppSession(DIALECT)
    with pytest.raises(LocalProtocolError, match="opening"):
        app.send(command, 0.0)
    assert app.next_timeout() is None


def test_a07_nothing_is_sent_between_xoff_and_xon() -> None:
    app = opened(send_ahead=None)
    first = sent(app.send(c.SendAudio(FRAME * 3000), 0.0))
    # No more than the platform takes before it says stop.
    assert sum(map(len, first)) == 900 * 160
    assert app.receive("MEDIA_XOFF", 0.1) == [e.FlowPaused()]
    assert app.receive("MEDIA_XOFF", 0.1) == []
    assert app.is_flow_paused
    assert sent(run(app, 5.0)) == sent(app.send(c.SendAudio(FRAME), 5.0)) == []
    out = app.receive("MEDIA_XON", 5.0)
    assert said(out) == [e.FlowResumed()]
    assert sum(map(len, sent(out))) == 250 * 160
    assert app.pending == (3001 - 900 - 250) * 160


def test_a08_own_clear_lifts_xoff() -> None:
    app = opened(send_ahead=None)
    app.send(c.SendAudio(FRAME * 900), 0.0)
    app.send(c.PlaceMark("a"), 0.0)
    app.receive("MEDIA_XOFF", 0.0)
    app.send(c.SendAudio(FRAME), 0.0)
    app.send(c.PlaceMark("b"), 0.0)
    out = app.send(c.ClearPlayout(), 1.0)
    assert sent(out) == ["GET_STATUS", "FLUSH_MEDIA"]
    cleared = e.MarkOutcome.CLEARED
    assert said(out) == [e.MarkReached("a", cleared), e.MarkReached("b", cleared), e.FlowResumed()]
    assert not app.is_flow_paused
    # A mark that was on its way is not answered again.
    assert app.receive("MEDIA_MARK_PROCESSED a", 1.01) == []
    assert app.counters["late_marks"] == 1
    [answer] = app.receive("STATUS channel_id:1.0 queue_length:855 xon_level:800 xoff_level:900 queue_full:true "
                           "bulk_media:false media_paused:false", 1.02)  # fmt: skip
    assert answer == e.PlayoutCleared(heard=45 * 0.02, discarded=856 * 0.02)
    assert sent(app.send(c.SendAudio(FRAME), 1.1)) == [FRAME]


def test_a09_a_clear_ends_a_pause() -> None:
    app = opened()
    app.send(c.SendAudio(FRAME * 10), 0.0)
    assert sent(app.send(c.PausePlayout(), 0.1)) == ["PAUSE_MEDIA"]
    assert sent(app.send(c.ClearPlayout(), 0.2)) == ["GET_STATUS", "FLUSH_MEDIA", "CONTINUE_MEDIA"]


def test_a09_a_pause_that_the_platform_would_not_end_outlives_the_clear() -> None:
    app = opened(JSON)
    app.send(c.PausePlayout(), 0.1)
    app.send(c.SetDirection(e.Direction.IN), 0.1)
    assert sent(app.send(c.ClearPlayout(), 0.2)) == ['{"command":"FLUSH_MEDIA"}']
    app.send(c.SetDirection(e.Direction.BOTH), 0.3)
    assert sent(app.send(c.ResumePlayout(), 0.3)) == ['{"command":"CONTINUE_MEDIA"}']


def test_a10_a_mebibyte_goes_out_in_whole_frames() -> None:
    app = opened(format="slin16", frame_size=640, send_ahead=None)
    data = bytes(range(256)) * 4096
    messages = sent(app.send(c.SendAudio(data), 0.0))
    at = 0.0
    while app.pending:
        at += 1.0
        messages += sent(run(app, at))
    assert all(len(message) <= 8000 and not len(message) % 640 for message in messages)
    messages += sent(run(app, at + 20))
    [padded] = sent(app.send(c.EndUtterance(), at + 20))
    assert isinstance(padded, bytes)
    assert padded == data[-(len(data) % 640) :].ljust(640, b"\0")
    assert b"".join(message for message in messages if isinstance(message, bytes)) + padded == data.ljust(
        len(data) + 640 - len(data) % 640, b"\0"
    )


@pytest.mark.parametrize(("start", "room"), [(PLAIN, 117), (JSON, 84)])
def test_a11_a_name_that_is_too_long_is_refused_here(start: str, room: int) -> None:
    app = opened(start)
    [message] = sent(app.send(c.PlaceMark("x" * room), 0.0))
    assert len(message) == 128
    with pytest.raises(LocalProtocolError, match="129 bytes"):
        app.send(c.PlaceMark("x" * (room + 1)), 0.0)
    with pytest.raises(LocalProtocolError, match="129 bytes"):
        app.send(c.EndUtterance("x" * (room + 1)), 0.0)


def test_a12_names_are_measured_in_utf8() -> None:
    app = opened()
    [message] = sent(app.send(c.PlaceMark("ü" * 58), 0.0))
    assert isinstance(message, str)
    assert len(message.encode()) == 127
    with pytest.raises(LocalProtocolError, match="129 bytes"):
        app.send(c.PlaceMark("ü" * 59), 0.0)


@pytest.mark.parametrize("command", [c.PlaceMark("m"), c.ClearPlayout(), c.PausePlayout(), c.ReportDrained()])
def test_a13_passthrough_refuses_locally_where_nothing_is_emulated(command: c.Command) -> None:
    app = opened(format="opus", frame_size=0, emulates=False)
    with pytest.raises(Unsupported, match="emulate"):
        app.send(command, 0.0)
    assert app.next_timeout() is None


@pytest.mark.parametrize("command", [c.StartBuffering(), c.StopBuffering("s"), c.SetDirection(e.Direction.IN)])
def test_a13_passthrough_refuses_what_cannot_be_emulated(command: c.Command) -> None:
    with pytest.raises(Unsupported, match="not supported in passthrough mode"):
        opened(JSON, "opus", 0).send(command, 0.0)


def test_a13_passthrough_is_emulated_and_says_so() -> None:
    app = opened(format="opus", frame_size=0)
    for n in range(4):
        app.send(c.SendAudio(b"packet %d" % n), 0.0)
    assert app.send(c.PlaceMark("m"), 0.0) == app.send(c.ReportDrained(), 0.0) == []
    out = run(app, 0.03)
    assert out == [Transmit(b"packet 1")]
    assert app.send(c.PausePlayout(), 0.03) == run(app, 1.0) == []
    out = app.send(c.ResumePlayout(), 1.0)
    assert out == [Transmit(b"packet 2")]
    assert run(app, 1.02) == [Transmit(b"packet 3")]
    assert run(app, 2.0) == [e.MarkReached("m", is_estimated=True), e.PlayoutDrained(is_estimated=True)]
    app.send(c.SendAudio(b"packet 4"), 3.0)
    app.send(c.SendAudio(b"packet 5"), 3.0)
    app.send(c.PlaceMark("n"), 3.0)
    assert app.send(c.ClearPlayout(), 3.015) == [
        e.MarkReached("n", e.MarkOutcome.CLEARED, is_estimated=True),
        e.PlayoutCleared(heard=0.1, discarded=0.02, is_estimated=True),
    ]


def test_a14_an_error_tells_of_passthrough() -> None:
    app = opened()
    app.send(c.PlaceMark("m"), 0.0)
    text = "MARK_MEDIA not supported in passthrough mode"
    assert app.capabilities.marks is Support.NATIVE
    assert app.receive(f"ERROR channel_id:1.0 error_text:{text}", 0.01) == [e.PlatformFailed(text)]
    assert (app.capabilities.clock, app.capabilities.marks) == (Clock.APP, Support.EMULATED)
    assert run(app, 0.1) == [e.MarkReached("m", is_estimated=True)]
    assert app.send(c.PausePlayout(), 0.1) == []
    with pytest.raises(Unsupported):
        app.send(c.StartBuffering(), 0.1)


def test_a14_what_waits_when_passthrough_shows_is_sent_by_our_clock() -> None:
    app = opened(send_ahead=0.1)
    data = b"".join(bytes([n]) * 160 for n in range(20))
    app.send(c.SendAudio(data), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    app.send(c.ClearPlayout(), 0.0)
    app.send(c.SendAudio(data + b"rest"), 0.0)
    app.send(c.PlaceMark("n"), 0.0)
    assert app.pending == 15 * 160
    out = app.receive("ERROR channel_id:1.0 error_text:FLUSH_MEDIA not supported in passthrough mode", 0.02)
    out += run(app, 1.0)
    # The clear's question for the queue level had no answer yet.
    assert [output for output in out if isinstance(output, e.PlayoutCleared)] == [
        e.PlayoutCleared(heard=0.0, discarded=0.4, is_estimated=True)
    ]
    assert sent(out) == [data[at : at + 160] for at in range(800, 3200, 160)]
    assert out[-1] == e.MarkReached("n", is_estimated=True)
    assert app.heard(1.0) == pytest.approx(0.4, abs=0.1)
    assert run(app, 2.0) == []
    # The unfinished frame is still there.
    assert sent(app.send(c.SendAudio(b"x" * 156), 2.0)) == [b"rest" + b"x" * 156]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (PLAIN, "DTMF_END digit:1"),
        (PLAIN, "DTMF_END digit:1 channel_id:1.0"),
        (JSON, '{"event":"DTMF_END","channel_id":"1.0","digit":"1"}'),
    ],
)
def test_a15_a_digit_is_a_digit(start: str, message: str) -> None:
    assert opened(start).receive(message, 1.0) == [e.DigitReceived("1")]


def test_a16_an_error_text_loses_its_line_feed() -> None:
    text = "SET_MEDIA_DIRECTION only supports JSON format."
    assert opened().receive(f"ERROR channel_id:a b error_text:{text}\n", 1.0) == [e.PlatformFailed(text)]


@pytest.mark.parametrize("size", [50, 0, 240])
def test_a17_caller_audio_of_any_size_comes_as_it_is(size: int) -> None:
    for format, frame_size in (("ulaw", 160), ("ilbc", 38)):
        app = opened(format=format, frame_size=frame_size)
        assert app.receive(FRAME[:1] * size, 1.0) == [e.AudioReceived(FRAME[:1] * size)]


def test_a18_answers_nobody_waits_for_are_anomalies() -> None:
    app = opened()
    for name in ("a", "b"):
        app.send(c.PlaceMark(name), 0.0)
    assert app.receive("MEDIA_MARK_PROCESSED a", 0.1) == [e.MarkReached("a")]
    assert app.receive("MEDIA_MARK_PROCESSED b", 0.1) == [e.MarkReached("b")]
    assert app.receive("MEDIA_MARK_PROCESSED z", 0.1) == [e.MessageIgnored("mark 'z' was never placed")]
    assert app.receive("MEDIA_MARK_PROCESSED a", 0.1) == [e.MessageIgnored("mark 'a' was never placed")]
    assert app.counters == {"unknown_marks": 2}


def test_a18_a_mark_that_was_passed_is_answered_first() -> None:
    app = opened()
    for name in ("a", "b"):
        app.send(c.PlaceMark(name), 0.0)
    out = app.receive("MEDIA_MARK_PROCESSED b", 0.1)
    assert out == [e.MarkReached("a", is_estimated=True), e.MarkReached("b")]
    assert app.receive("MEDIA_MARK_PROCESSED a", 0.2) == []
    assert app.counters == {"late_marks": 1}


def test_a19_direction_in_refuses_what_the_platform_would() -> None:
    app = opened(JSON)
    app.send(c.SendAudio(FRAME * 100), 0.0)
    message = '{"command":"SET_MEDIA_DIRECTION","direction":"in"}'
    inwards = c.SetDirection(e.Direction.IN)
    assert app.send(inwards, 0.1) == [Transmit(message), e.DirectionChanged(e.Direction.IN)]
    assert app.send(inwards, 0.1) == [Transmit(message)]
    assert app.direction is e.Direction.IN
    for command in (c.PlaceMark("m"), c.EndUtterance("m"), c.PausePlayout(), c.SendAudio(FRAME)):
        with pytest.raises(LocalProtocolError, match="direction is 'in'"):
            app.send(command, 0.1)
    with pytest.raises(LocalProtocolError, match="nothing plays out"):
        app.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.1)
    # Playout stands still, and what waits is kept.
    assert run(app, 5.0) == []
    assert app.heard(5.0) == pytest.approx(0.1)
    out = app.send(c.SetDirection(e.Direction.BOTH), 5.0)
    assert sum(map(len, sent(out + run(app, 6.5))[1:])) == 50 * 160


def test_a19_plain_text_knows_no_direction() -> None:
    with pytest.raises(Unsupported, match="only supports JSON"):
        opened().send(c.SetDirection(e.Direction.IN), 0.1)


@pytest.mark.parametrize("message", ["GET_STATUS", "HANGUP"])
def test_a20_commands_from_the_platform_are_anomalies(message: str) -> None:
    app = opened()
    assert app.receive(message, 1.0) == [e.MessageIgnored(message)]
    assert app.state is State.OPEN


@pytest.mark.parametrize(
    ("code", "reason", "is_clean"),
    [
        (1000, "normal end", True),
        (1001, "the peer went away", True),
        (1003, "unacceptable data", False),
        (1009, "message too big", False),
        (1011, "internal error", False),
        (1005, "closed without a code", True),
        (4000, "close code 4000", False),
        (None, "the connection was lost without a close", False),
    ],
)
def test_a21_every_end_has_a_reason(code: int | None, reason: str, is_clean: bool) -> None:
    app = opened()
    app.send(c.PlaceMark("m"), 0.0)
    out = app.receive_close(code, 1.0)
    closed = e.SessionClosed(
        initiator=e.Side.PLATFORM, code=code, reason=reason, is_clean=is_clean, call_continues=None
    )
    echo: list[Output] = [] if code is None else [CloseLink(None if code == 1005 else code)]
    assert out == [*echo, e.MarkReached("m", e.MarkOutcome.CLEARED), closed]
    # A reset behind the close is no news.
    assert app.receive_close(None, 1.1) == app.receive(FRAME, 1.1) == app.handle_timeout(9.0) == []
    assert app.next_timeout() is None


def test_a25_nothing_holds_up_what_is_heard_while_the_queue_is_full() -> None:
    app = opened()
    app.send(c.SendAudio(FRAME * 1000), 0.0)
    app.receive("MEDIA_XOFF", 0.0)
    assert app.receive(FRAME, 0.1) == [e.AudioReceived(FRAME)]
    assert app.receive("DTMF_END digit:5", 0.1) == [e.DigitReceived("5")]


@pytest.mark.parametrize("interval", [None, 5.0])
def test_a26_silence_is_no_reason_to_hang_up(interval: float | None) -> None:
    app = opened(status_interval=interval)
    assert app.next_timeout() is None
    assert app.handle_timeout(600.0) == []
    assert app.receive(FRAME, 600.0) == [e.AudioReceived(FRAME)]
    assert app.state is State.OPEN


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (
            PLAIN,
            "STATUS queue_length:40 xon_level:800 xoff_level:900 queue_full:false bulk_media:true media_paused:false",
        ),
        (
            PLAIN,
            "STATUS channel_id:1.0 queue_length:40 xon_level:800 xoff_level:900 "
            "queue_full:false bulk_media:true media_paused:false",
        ),
        (
            JSON,
            '{"event":"STATUS","channel_id":"1.0","queue_length":40,"xon_level":800,"xoff_level":900,'
            '"queue_full":false,"bulk_media":true,"media_paused":false}',
        ),
    ],
)
def test_a27_status_corrects_the_ledger(start: str, status: str) -> None:
    app = opened(start)
    app.send(c.SendAudio(FRAME * 50), 0.0)
    app.send(c.RequestStatus(), 0.5)
    assert app.heard(0.5) == pytest.approx(0.5)
    report = e.StatusReported(queue_length=40, xon_level=800, xoff_level=900, is_buffering=True)
    assert app.receive(status, 0.5) == [report]
    # Fifteen ticks were lost.
    assert app.heard(0.5) == pytest.approx(0.2)
    assert app.backlog(0.5) == pytest.approx(0.8)
    assert app.latency_debt == pytest.approx(0.3)


def test_a27_a_status_lifts_a_stop_whose_end_was_lost() -> None:
    app = opened(status_interval=5.0)
    app.send(c.SendAudio(FRAME * 100), 0.0)
    app.receive("MEDIA_XOFF", 0.0)
    assert sent(run(app, 5.0)) == ["GET_STATUS"]
    status = "STATUS queue_length:0 xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false"
    out = app.receive(status, 5.0)
    assert said(out) == [e.FlowResumed()]
    assert sum(map(len, sent(out))) == 50 * 160


@pytest.mark.parametrize("generation", [Generation.G1, Generation.G2])
def test_marks_of_old_generations_are_ends_of_buffering(generation: Generation) -> None:
    app = opened(profile=AsteriskProfile(generation=generation, syntax=Syntax.PLAIN))
    assert sent(app.send(c.PlaceMark("m"), 0.0)) == ["STOP_MEDIA_BUFFERING m"]
    assert app.receive("MEDIA_BUFFERING_COMPLETED m", 0.1) == [e.MarkReached("m")]
    assert app.receive("MEDIA_BUFFERING_COMPLETED m", 0.1) != [e.MarkReached("m")]


def test_a_stop_of_buffering_is_answered_in_its_own_words() -> None:
    app = opened()
    assert sent(app.send(c.StartBuffering(), 0.0)) == ["START_MEDIA_BUFFERING"]
    assert sent(app.send(c.StopBuffering("s"), 0.0)) == ["STOP_MEDIA_BUFFERING s"]
    assert app.receive("MEDIA_MARK_PROCESSED s", 0.1) == [e.MessageIgnored("mark 's' was never placed")]
    assert app.receive("MEDIA_BUFFERING_COMPLETED s", 0.1) == [e.BufferingCompleted("s")]


def test_a_channel_dialled_to_listen_shows_when_it_refuses() -> None:
    # Option d(in) is not announced: Asterisk throws away what is played, and says so only when it refuses a mark.
    app = opened(JSON)
    app.send(c.SendAudio(b"\x55" * 1600), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    refused = "MARK_MEDIA not supported while media direction is 'in'"
    heard = app.receive(f'{{"event":"ERROR","channel_id":"1.0","error_text":"{refused}"}}', 0.01)
    assert heard == [
        e.PlatformFailed(refused),
        e.DirectionChanged(e.Direction.IN),
        e.MarkReached("m", e.MarkOutcome.CLEARED),
        e.PlayoutCleared(heard=0.0, discarded=0.2),
    ]
    assert app.heard(1.0) == 0.0
    with pytest.raises(LocalProtocolError, match="direction is 'in'"):
        app.send(c.SendAudio(b"\x55" * 160), 1.0)
    # Saying it again changes nothing.
    assert app.receive(f'{{"event":"ERROR","channel_id":"1.0","error_text":"{refused}"}}', 2.0) == [
        e.PlatformFailed(refused)
    ]
