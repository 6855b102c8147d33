"""The application's engine, on a platform of our own making: what no dialect so far asks of it, or seldom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.audio import AudioFormat
from callstream_core.closing import is_clean, reason_of
from callstream_core.dialect import Capabilities, Dialect, Support
from callstream_core.errors import LocalProtocolError, PendingAudioFull, Unsupported
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.machine import State, conversation
from callstream_core.outputs import CloseLink, Output, Transmit

ULAW = AudioFormat(encoding="ulaw", rate=8000, frame_size=160)
FRAME = bytes(160)
START = "MEDIA_START connection_id:c channel:W/c/0x1 channel_id:1.0 format:ulaw optimal_frame_size:160 ptime:20"
STATUS = "STATUS queue_length:{} xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false"
EVENTS: dict[str, Sequence[e.Event]] = {
    "digit": [e.DigitReceived("1")],
    "mark": [e.MarkReached("m")],
    "drained": [e.PlayoutDrained()],
    "go": [e.FlowResumed()],
    "ending": [e.SessionEnding("bye")],
    "unknown twice": [e.PlatformFailed("no"), e.TrackEnded("x"), e.DigitReceived("2")],
    "failed": [e.PlatformFailed("no")],
    "odd": [e.Tolerated("odd_news", "it was odd"), e.DigitReceived("3")],
    "status": [e.StatusReported(queue_length=0)],
    "listen": [e.DirectionChanged(e.Direction.IN)],
    "both": [e.DirectionChanged(e.Direction.BOTH)],
}
REPORTS = Capabilities(marks=Support.NONE, call_continues=True, is_raw=True)


@attrs.define
class ToyCodec:
    """Says commands by their names."""

    capabilities: Capabilities
    reply_format: AudioFormat | None = ULAW
    needs_answer: bool = False
    is_mute: bool = False

    def decode_event(self, message: str | bytes) -> Sequence[e.Event]:
        if message == "open":
            return [
                e.SessionOpened(
                    dialect="toy",
                    profile="",
                    ids={},
                    call_id="1",
                    caller_format=ULAW,
                    reply_format=self.reply_format,
                    needs_answer=self.needs_answer,
                    capabilities=self.capabilities,
                )
            ]
        return EVENTS[message] if isinstance(message, str) else [e.AudioReceived(message)]

    def encode_command(self, command: c.Command) -> Sequence[str | bytes]:
        return [] if self.is_mute else [type(command).__name__]

    def encode_event(self, event: e.Event) -> Sequence[str | bytes]:
        raise AssertionError("an application's end never asks for this")

    def decode_command(self, message: str | bytes) -> Sequence[c.Command]:
        raise AssertionError("an application's end never asks for this")

    def refusal(self, command: c.Command, direction: e.Direction) -> str | None:
        return None

    def closing_code(self, code: int | None) -> int | None:
        return code


def toy(codec: ToyCodec, **arguments: Any) -> AppSession:
    """Return a session that has heard the toy platform's opening."""
    table = conversation(
        events=[
            e.AudioReceived,
            e.DigitReceived,
            e.MarkReached,
            e.PlayoutDrained,
            e.FlowResumed,
            e.PlatformFailed,
            e.DirectionChanged,
        ],
        commands=[c.PlaceMark, c.ReportDrained, c.ClearPlayout, c.SendDigit, c.PausePlayout],
        needs_answer=codec.needs_answer,
    )
    dialect = Dialect(
        name="toy",
        table=table,
        codec=lambda _: codec,
        profile=dialects.get("asterisk").profile,
        recognizes=lambda _: False,
    )
    app = AppSession(dialect, **arguments)
    app.receive("open", 0.0)
    return app


def asterisk(limits: Limits | None = None, **arguments: Any) -> AppSession:
    app = AppSession(
        dialects.get("asterisk"), limits=limits, settings=PlayoutSettings(**{"status_interval": None, **arguments})
    )
    app.receive(START, 0.0)
    return app


def run(app: AppSession, until: float) -> list[tuple[float, Output]]:
    out: list[tuple[float, Output]] = []
    while (due := app.next_timeout()) is not None and due <= until:
        out += [(due, output) for output in app.handle_timeout(due)]
    return out


def test_before_the_call_is_announced_there_is_nothing_to_read() -> None:
    app = AppSession(dialects.get("asterisk"), now=5.0)
    assert (app.room, app.pending, app.latency_debt, app.heard(9.0), app.backlog(9.0)) == (0, 0, 0.0, 0.0, 0.0)
    assert not app.is_flow_paused
    assert app.next_timeout() == 15.0
    out = app.handle_timeout(15.0)
    assert [type(said) for said in out] == [e.PeerMisbehaved, CloseLink, e.SessionClosed]
    assert app.next_timeout() is None


def test_a_platform_that_only_listens() -> None:
    app = toy(ToyCodec(Capabilities(), reply_format=None))
    for command in (c.SendAudio(FRAME), c.PlaceMark("m"), c.ClearPlayout()):
        with pytest.raises(Unsupported, match="only listens"):
            app.send(command, 0.0)
    assert app.receive("mark", 0.1) == [e.MarkReached("m")]
    assert app.receive(FRAME, 0.1) == [e.AudioReceived(FRAME)]
    assert app.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.2) == [Transmit("HangUp")]


def test_a_call_that_waits_for_an_answer() -> None:
    app = toy(ToyCodec(REPORTS, needs_answer=True))
    assert app.state is State.RINGING
    with pytest.raises(LocalProtocolError, match="ringing"):
        app.send(c.SendAudio(FRAME), 0.0)
    [said] = app.receive(FRAME, 0.1)
    assert isinstance(said, e.PeerMisbehaved)
    assert app.send(c.Answer(), 0.2) == [Transmit("Answer")]
    assert app.receive(FRAME, 0.3) == [e.AudioReceived(FRAME)]
    assert app.send(c.SendDigit("1"), 0.3) == [Transmit("SendDigit")]
    ringing = toy(ToyCodec(REPORTS, needs_answer=True))
    assert ringing.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.1) == [Transmit("HangUp")]
    assert toy(ToyCodec(REPORTS, needs_answer=True)).send(c.Reject("busy"), 0.1) == [Transmit("Reject")]


def test_where_the_close_is_the_hang_up() -> None:
    app = toy(ToyCodec(REPORTS, is_mute=True))
    out = app.send(c.HangUp(), 1.0)
    closed = e.SessionClosed(initiator=e.Side.APP, code=1000, reason="normal end", call_continues=True)
    assert out == [CloseLink(1000), closed]


def test_an_announced_end_is_the_platforms() -> None:
    app = toy(ToyCodec(REPORTS))
    app.send(c.SendAudio(FRAME * 100), 0.0)
    assert app.receive("ending", 1.0) == [e.SessionEnding("bye")]
    # Nothing is sent to who has said goodbye.
    assert app.receive("go", 1.0) == []
    assert app.receive("drained", 1.1) == [e.PlayoutDrained()]
    [close, closed] = app.handle_timeout(1.0 + app.limits.close_timeout)
    assert close == CloseLink(1000)
    assert isinstance(closed, e.SessionClosed)
    assert (closed.initiator, closed.is_clean) == (e.Side.PLATFORM, False)


def test_an_agreed_end_is_clean_whatever_the_socket_does() -> None:
    app = asterisk()
    assert app.send(c.HangUp(), 1.0) == [Transmit("HANGUP")]
    [closed] = app.receive_close(None, 1.1)
    assert isinstance(closed, e.SessionClosed)
    assert (closed.initiator, closed.is_clean) == (e.Side.APP, True)


def test_the_link_can_fail_a_session_once() -> None:
    app = asterisk()
    out = app.fail(1009, "too big", 1.0)
    assert out[0] == CloseLink(1009, "too big")
    assert app.fail(1009, "too big", 1.0) == []


@pytest.mark.parametrize("command", [c.SendDigit("1"), c.SetDirection(e.Direction.IN)])
def test_what_a_platform_never_does_comes_with_advice(command: c.Command) -> None:
    with pytest.raises(Unsupported, match=r"toy cannot do SetDirection: ask|asterisk cannot do SendDigit: send DTMF"):
        (asterisk() if isinstance(command, c.SendDigit) else toy(ToyCodec(REPORTS))).send(command, 0.0)


def test_an_ability_that_nobody_has_is_refused() -> None:
    app = toy(ToyCodec(REPORTS))
    with pytest.raises(Unsupported, match=r"toy has no PlaceMark for this call$"):
        app.send(c.PlaceMark("m"), 0.0)
    # It still hangs up when the last word was heard: by the report, or else by its clock.
    app.send(c.SendAudio(FRAME), 0.0)
    assert app.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.0) == [Transmit("ReportDrained")]
    assert app.receive("drained", 0.1) == [Transmit("HangUp")]
    app = toy(ToyCodec(attrs.evolve(REPORTS, drained=Support.NONE)))
    app.send(c.SendAudio(FRAME), 0.0)
    app.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.0)
    assert run(app, 1.0) == [(0.04, Transmit("HangUp"))]


def test_a_clear_without_a_queue_level_is_estimated() -> None:
    app = toy(ToyCodec(REPORTS))
    app.send(c.SendAudio(FRAME * 10), 0.0)
    assert app.send(c.ClearPlayout(), 0.1) == [
        Transmit("ClearPlayout"),
        e.PlayoutCleared(heard=0.1, discarded=0.1, is_estimated=True),
    ]
    # Nothing was sent since: that is certain.
    assert app.send(c.ClearPlayout(), 0.2)[1:] == [e.PlayoutCleared(heard=0.0, discarded=0.0)]


def test_after_the_end_of_a_batch_nothing_more_is_heard() -> None:
    app = toy(ToyCodec(REPORTS), limits=Limits(max_misbehaviour=0))
    out = app.receive("unknown twice", 0.1)
    assert [type(said) for said in out] == [e.PlatformFailed, e.PeerMisbehaved, CloseLink, e.SessionClosed]


def test_a_goodbye_ends_a_pause_and_is_not_cut() -> None:
    app = asterisk()
    app.send(c.SendAudio(FRAME * 5 + b"rest"), 0.0)
    app.send(c.PausePlayout(), 0.0)
    out = app.send(c.HangUp(c.When.AFTER_PLAYOUT), 1.0)
    assert out == [
        Transmit("CONTINUE_MEDIA"),
        Transmit(b"rest".ljust(160, b"\xff")),
        Transmit("REPORT_QUEUE_DRAINED"),
    ]
    assert app.state is State.FINISHING
    assert app.send(c.HangUp(c.When.AFTER_PLAYOUT), 1.0) == []
    with pytest.raises(LocalProtocolError, match="finishing"):
        app.send(c.SendAudio(FRAME), 1.0)
    assert app.receive("QUEUE_DRAINED", 1.15) == [Transmit("HANGUP")]
    # What was on its way is heard, and nothing is said any more.
    assert app.receive("MEDIA_XOFF", 1.2) == [e.FlowPaused()]
    assert app.receive("MEDIA_XON", 1.2) == [e.FlowResumed()]
    assert app.receive(FRAME, 1.2) == [e.AudioReceived(FRAME)]


def test_with_nothing_to_play_out_the_hang_up_comes_at_once() -> None:
    assert asterisk().send(c.HangUp(c.When.AFTER_PLAYOUT), 1.0) == [Transmit("HANGUP")]


def test_a_hang_up_keeps_back_what_was_not_sent() -> None:
    app = asterisk()
    app.send(c.SendAudio(FRAME * 500), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    app.receive("MEDIA_XOFF", 0.1)
    assert app.send(c.HangUp(), 0.2) == [Transmit("HANGUP")]
    assert app.receive("MEDIA_XON", 0.3) == [e.FlowResumed()]
    assert app.next_timeout() == 0.2 + app.limits.close_timeout
    out = app.receive_close(1000, 0.4)
    assert out[:2] == [CloseLink(1000), e.MarkReached("m", e.MarkOutcome.CLEARED)]


def test_time_never_runs_backwards() -> None:
    app = asterisk()
    app.receive(FRAME, 10.0)
    app.send(c.SendAudio(FRAME), 3.0)
    app.receive("DTMF_END digit:1", 2.0)
    assert app.heard(10.02) == pytest.approx(0.02)


def test_what_is_due_after_the_end_is_not_done() -> None:
    app = asterisk(Limits(close_timeout=0.1))
    for _ in range(2):
        app.send(c.RequestStatus(), 0.9)
    app.send(c.HangUp(), 1.0)
    app.receive(STATUS.format(0), 1.05)
    out = app.handle_timeout(9.0)
    assert [type(said) for said in out] == [CloseLink, e.SessionClosed]


def test_a_platform_may_turn_out_to_do_less_by_the_same_clock() -> None:
    codec = ToyCodec(Capabilities(is_raw=True))
    app = toy(codec)
    app.send(c.SendAudio(FRAME * 10), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    codec.capabilities = attrs.evolve(codec.capabilities, marks=Support.EMULATED)
    assert app.receive("failed", 0.1) == [e.PlatformFailed("no")]
    assert app.backlog(0.1) == pytest.approx(0.1)
    [(at, said)] = run(app, 9.0)
    assert said == e.MarkReached("m", is_estimated=True)
    assert at == pytest.approx(0.22)


def test_a_stop_holds_packets_too() -> None:
    app = AppSession(dialects.get("asterisk"))
    app.receive(START.replace("ulaw", "opus").replace("160", "0"), 0.0)
    for n in range(4):
        app.send(c.SendAudio(b"%d" % n), 0.0)
    app.receive("MEDIA_XOFF", 0.01)
    assert run(app, 1.0) == []
    assert app.receive("MEDIA_XON", 1.0) == [e.FlowResumed(), Transmit(b"1")]
    assert run(app, 2.0) == [(1.02, Transmit(b"2")), (1.04, Transmit(b"3"))]


# Each limit


def test_a_clock_that_goes_back_stands_still() -> None:
    app = asterisk(send_ahead=10.0)
    app.send(c.SendAudio(FRAME * 10), 5.0)
    app.receive("MEDIA_XON", 9.0)
    app.send(c.SendAudio(FRAME * 50), 5.3)
    assert app.backlog(9.0) == 1.0


def test_limit_max_pending_audio() -> None:
    app = asterisk(Limits(max_pending_audio=1600), send_ahead=0.02)
    app.receive("MEDIA_XOFF", 0.0)
    app.send(c.SendAudio(FRAME * 9), 0.0)
    with pytest.raises(PendingAudioFull, match="1440 bytes in 1 pieces"):
        app.send(c.SendAudio(FRAME * 2), 0.0)
    assert app.room == app.pending - 1280 == 160
    app.send(c.SendAudio(FRAME), 0.0)


def test_there_is_no_room_when_nothing_may_be_played() -> None:
    app = AppSession(dialects.get("asterisk"))
    assert app.room == 0
    app.receive(START, 0.0)
    assert app.room > 0
    app.send(c.SendAudio(FRAME * 9), 0.0)
    app.send(c.HangUp(c.When.AFTER_PLAYOUT), 0.0)
    assert app.room == 0
    with pytest.raises(LocalProtocolError):
        app.send(c.SendAudio(FRAME), 0.0)


def test_limit_max_pending_items() -> None:
    app = asterisk(Limits(max_pending_items=2))
    app.receive("MEDIA_XOFF", 0.0)
    app.send(c.StartBuffering(), 0.0)
    app.send(c.SendAudio(FRAME), 0.0)
    with pytest.raises(PendingAudioFull):
        app.send(c.SendAudio(FRAME), 0.0)
    with pytest.raises(LocalProtocolError, match="are open"):
        app.send(c.StartBuffering(), 0.0)


def test_limit_max_marks() -> None:
    app = asterisk(Limits(max_marks=2))
    app.send(c.PlaceMark("a"), 0.0)
    app.receive("MEDIA_XOFF", 0.0)
    app.send(c.SendAudio(FRAME + b"rest"), 0.0)
    app.send(c.PlaceMark("b"), 0.0)
    for command in (c.PlaceMark("c"), c.EndUtterance("c"), c.ReportDrained()):
        with pytest.raises(LocalProtocolError, match="2 marks are open"):
            app.send(command, 0.0)
    # Nothing has changed, the unfinished frame neither.
    assert app.pending == 160
    app.receive("MEDIA_MARK_PROCESSED a", 0.1)
    app.send(c.PlaceMark("c"), 0.1)


def test_limit_max_inquiries() -> None:
    app = asterisk(Limits(max_inquiries=2))
    app.send(c.SendAudio(FRAME), 0.0)
    for _ in range(2):
        app.send(c.RequestStatus(), 0.0)
    for command in (c.RequestStatus(), c.ClearPlayout()):
        with pytest.raises(LocalProtocolError, match="2 questions"):
            app.send(command, 0.0)


def test_limit_status_timeout() -> None:
    app = asterisk(Limits(status_timeout=0.3))
    app.send(c.SendAudio(FRAME * 50), 0.0)
    app.send(c.ClearPlayout(), 0.5)
    app.send(c.SendAudio(FRAME), 0.6)
    app.send(c.ClearPlayout(), 0.6)
    assert run(app, 5.0) == [
        (0.8, e.PlayoutCleared(heard=0.5, discarded=0.5, is_estimated=True)),
        (0.6 + 0.3, e.PlayoutCleared(heard=0.0, discarded=0.02, is_estimated=True)),
    ]
    assert app.counters["unanswered_status"] == 2
    # Late answers are nobody's.
    status = STATUS.format(9)
    assert app.receive(status, 6.0) == app.receive(status, 6.0) == []


def test_an_answer_that_a_clear_has_overtaken_corrects_nothing() -> None:
    app = asterisk()
    app.send(c.SendAudio(FRAME * 50), 0.0)
    app.send(c.RequestStatus(), 0.1)
    app.send(c.ClearPlayout(), 0.1)
    status = STATUS.format(46)
    assert [type(said) for said in app.receive(status, 0.2)] == [e.StatusReported]
    assert app.backlog(0.2) == 0.0
    assert app.receive(status, 0.2) == [e.PlayoutCleared(heard=4 / 50, discarded=46 / 50)]


def test_a_question_that_went_unanswered_is_not_asked_again_by_itself() -> None:
    app = asterisk(status_interval=1.0, send_ahead=None)
    app.send(c.SendAudio(FRAME * 900), 0.0)
    asked = [at for at, said in run(app, 10.0) if said == Transmit("GET_STATUS")]
    assert asked == [1.0]
    # Where all is known, none is needed.
    app = asterisk(status_interval=1.0)
    app.send(c.SendAudio(FRAME), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    app.send(c.SendAudio(FRAME * 50), 0.0)
    app.send(c.ClearPlayout(), 0.1)
    assert [said for _, said in run(app, 0.55)] == []
    assert Transmit("GET_STATUS") not in [said for _, said in run(app, 9.0)]


def test_limit_acknowledgement_slack() -> None:
    app = asterisk(Limits(acknowledgement_slack=0.5))
    app.send(c.SendAudio(FRAME * 50), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    assert run(app, 9.0) == [(1.5, e.MarkReached("m", is_estimated=True))]
    assert app.counters["unanswered_marks"] == 1


def test_limit_close_timeout() -> None:
    app = asterisk(Limits(close_timeout=0.7))
    app.send(c.HangUp(), 1.0)
    assert [at for at, _ in run(app, 9.0)] == [1.7, 1.7]


def test_limit_max_burst_packets() -> None:
    app = AppSession(dialects.get("asterisk"), limits=Limits(max_burst_packets=3))
    app.receive(START.replace("ulaw", "opus").replace("160", "0"), 0.0)
    for n in range(20):
        app.send(c.SendAudio(b"%d" % n), 0.0)
    out = app.handle_timeout(0.2)
    assert out == [Transmit(b"1"), Transmit(b"2"), Transmit(b"3")]
    assert app.next_timeout() == pytest.approx(0.22)


def test_a_packet_that_no_platform_takes_is_refused() -> None:
    app = AppSession(dialects.get("asterisk"))
    app.receive(START.replace("ulaw", "opus").replace("160", "0"), 0.0)
    with pytest.raises(LocalProtocolError, match="8000 are the most"):
        app.send(c.SendAudio(bytes(8001)), 0.0)
    assert app.send(c.SendAudio(b""), 0.0) == []
    assert app.send(c.SendAudio(b"x"), 0.0) == [Transmit(b"x")]


def test_closes_have_names() -> None:
    assert reason_of(1000, "so long") == "so long"
    assert reason_of(4321) == "close code 4321"
    assert is_clean(1005)
    assert not is_clean(None)


def test_what_is_tolerated_is_counted_by_its_name_and_costs_the_peer_nothing() -> None:
    app = toy(ToyCodec(REPORTS), limits=Limits(max_misbehaviour=0))
    for _ in range(3):
        assert app.receive("odd", 1.0) == [e.Tolerated("odd_news", "it was odd"), e.DigitReceived("3")]
    assert app.counters == {"odd_news": 3}


def test_an_answer_from_before_a_clear_is_not_the_next_marks_of_that_name() -> None:
    app = asterisk()
    app.send(c.SendAudio(FRAME), 0.0)
    app.send(c.PlaceMark("m"), 0.0)
    app.send(c.ClearPlayout(), 0.05)
    app.send(c.PlaceMark("m"), 0.05)
    assert app.receive("MEDIA_MARK_PROCESSED m", 0.06) == []
    assert app.receive(STATUS.format(0), 0.07) == [e.PlayoutCleared(heard=0.02, discarded=0.0)]
    assert app.receive("MEDIA_MARK_PROCESSED m", 0.08) == [e.MarkReached("m")]


def test_a_platform_that_changes_the_direction() -> None:
    app = toy(ToyCodec(Capabilities(clear=Support.NATIVE)))
    app.send(c.SendAudio(FRAME), 0.0)
    cleared = e.PlayoutCleared(heard=0.0, discarded=0.02)
    assert app.receive("listen", 0.001) == [e.DirectionChanged(e.Direction.IN), cleared]
    with pytest.raises(LocalProtocolError, match="direction is 'in'"):
        app.send(c.SendAudio(FRAME), 0.1)
    assert app.receive("both", 0.2) == [e.DirectionChanged(e.Direction.BOTH)]
    assert app.receive("both", 0.2) == []
    assert app.send(c.SendAudio(FRAME), 0.3) == [Transmit(FRAME)]
