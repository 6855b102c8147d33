"""The platform's end: what holds for any dialect, shown with Asterisk's. Its own behaviour is in tests/dialects."""

from __future__ import annotations

import attrs
import pytest

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.dialects.asterisk import Generation
from callstream_core.errors import LocalProtocolError
from callstream_core.machine import State, conversation
from callstream_core.outputs import CloseLink
from callstream_core.platform_session import PlatformSession
from tests.dialects.driver import ALL, Call


def test_what_comes_before_the_opening_is_not_looked_at() -> None:
    call = Call()
    fresh = PlatformSession(call.session.dialect, call.profile)
    assert fresh.receive("no JSON", 0.0) == [e.PeerMisbehaved("a message before the call was announced")]
    assert fresh.state is State.OPENING
    assert fresh.next_timeout() is None
    assert fresh.handle_timeout(1.0) == []
    with pytest.raises(LocalProtocolError):
        fresh.send(e.AudioReceived(bytes(160)), 1.0)


@pytest.mark.parametrize("generation", ALL)
def test_the_core_hangs_up(generation: Generation) -> None:
    call = Call(generation)
    assert call.core_event(e.SessionEnding("busy")) == ["close 1000"]
    assert call.session.state is State.CLOSED
    assert not call.session.playout.is_running
    assert call.session.fail(1003, "", call.now) == []
    assert call.session.receive_pong(call.now) == []


def test_a_time_before_the_last_one_counts_as_the_last() -> None:
    call = Call()
    assert call.app(480) == []
    assert call.app(call.say("GET_STATUS"), at=2.5 * call.period) == [call.status(3)]
    assert len(call.session.handle_timeout(0.0)) == 2


def test_a_resume_without_a_pause_loses_no_tick_that_is_late() -> None:
    call = Call()
    assert call.app(480) == []
    assert call.app(call.say("CONTINUE_MEDIA"), at=call.next_tick + 2.5 * call.period) == []
    assert call.late_tick(4) == ["core 160"] * 3


def test_a_command_that_the_conversation_has_no_place_for_is_noted() -> None:
    call = Call()
    narrow = attrs.evolve(call.session.dialect, table=conversation(events=(), commands=(c.RequestStatus,)))
    session = PlatformSession(narrow, call.profile)
    session.open(0.0)
    assert session.receive(call.say("MARK_MEDIA"), 0.0) == [
        e.PeerMisbehaved("PlaceMark while the session is open"),
    ]
    assert session.counters["misbehaved"] == 1


def test_the_default_profile_serves() -> None:
    call = Call()
    session = PlatformSession(call.session.dialect)
    assert len(session.open(0.0)) == 2
    assert session.capabilities.has_status


@pytest.mark.parametrize(("code", "is_clean"), [(1000, True), (1001, True), (1005, True), (4000, False), (1002, False)])
def test_the_end_comes_last_and_once(code: int, is_clean: bool) -> None:
    session = Call().session
    *_, closed = session.receive_close(code, 1.0, "bye")
    assert closed == e.SessionClosed(
        initiator=e.Side.APP, code=code, reason="bye", is_clean=is_clean, call_continues=None
    )
    assert session.receive_close(code, 1.0) == []
    assert session.receive("HANGUP", 1.0) == []
    assert session.handle_timeout(2.0) == []
    assert session.next_timeout() is None


def test_it_hands_out_the_commands_that_it_heard() -> None:
    session = Call().session
    assert session.receive('{"command":"MARK_MEDIA","correlation_id":"a"}', 0.01) == [c.PlaceMark("a")]
    assert session.receive(bytes(160), 0.01) == [c.SendAudio(bytes(160))]
    assert session.receive('{"command":"HANGUP"}', 0.01)[0] == c.HangUp()


def test_a_failure_of_the_link_ends_the_session() -> None:
    session = Call().session
    assert session.fail(1009, "frame is too long", 1.0) == [
        CloseLink(1009),
        e.SessionClosed(
            initiator=e.Side.PLATFORM, code=1009, reason="frame is too long", is_clean=False, call_continues=None
        ),
    ]
