"""Packets of a paced stream take a short cut through the session: nobody may see a difference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import dialects
from callstream_core.app_session import AppSession
from callstream_core.errors import LocalProtocolError
from callstream_core.limits import Limits, PlayoutSettings
from callstream_core.outputs import Transmit
from callstream_core.reply import Reply

START = "MEDIA_START connection_id:c channel:W/c/0x1 channel_id:1.0 format:{} optimal_frame_size:160 ptime:20"
# By the platform's announcement: one that passes frames on as they come, and one that passes packets.
PACED = {"frames": START.format("ulaw") + " unbuffered:true", "packets": START.format("g729") + " passthrough:true"}
STATUS = "STATUS queue_length:{} xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false"

steps = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(1, 1500)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.02, 0.02, 0.02, 0.05, 0.3, 6.0])),
        st.tuples(st.just("due"), st.just(0.0)),
        st.tuples(st.just("due"), st.sampled_from([0.0, 0.0004, 0.019, 0.1])),
        st.tuples(st.just("say"), st.sampled_from([c.PlaceMark("m"), c.ClearPlayout(), c.EndUtterance("u")])),
        st.tuples(st.just("say"), st.sampled_from([c.PausePlayout(), c.ResumePlayout(), c.ReportDrained()])),
        st.tuples(st.just("hear"), st.sampled_from(["MEDIA_XOFF", "MEDIA_XON", STATUS.format(0), STATUS.format(7)])),
    ),
    max_size=60,
)


def _handle(session: AppSession, now: float, *, asks_first: bool) -> list[object]:
    packet = session.next_packet(now) if asks_first else None
    if packet is None:
        return [*session.handle_timeout(now)]
    due = session.next_timeout()
    return [Transmit(packet), *(session.handle_timeout(now) if due is not None and due <= now else ())]


def _run(opening: str, script: list[tuple[str, Any]], *, asks_first: bool = False) -> list[object]:
    """Return all that anybody can see of a session."""
    session = AppSession(
        dialects.get("asterisk"), limits=Limits(max_burst_packets=4), settings=PlayoutSettings(status_interval=0.5)
    )
    now = 100.0
    seen: list[object] = [session.receive(opening, now)]
    for what, value in script:
        try:
            if what == "play":
                seen.append(session.send(c.SendAudio(bytes(value)), now))
            elif what == "say":
                seen.append(session.send(value, now))
            elif what == "hear":
                seen.append(session.receive(value, now))
            elif what == "wait":
                now += value
                seen.append(_handle(session, now, asks_first=asks_first))
            elif (due := session.next_timeout()) is not None:
                now = max(now, due + value)
                seen.append(_handle(session, now, asks_first=asks_first))
        except LocalProtocolError as error:
            seen.append(repr(error))
        seen += [session.next_timeout(), session.heard(now), session.backlog(now), session.pending, session.room]
    return seen


@pytest.mark.parametrize("kind", PACED)
@given(script=steps)
def test_the_short_cut_does_what_the_long_way_does(kind: str, script: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reply, "next_packet", lambda _reply, _now: None)
        long_way = _run(PACED[kind], script)
    assert _run(PACED[kind], script) == long_way
    assert _run(PACED[kind], script, asks_first=True) == long_way


def test_time_never_goes_back_for_a_packet() -> None:
    session = AppSession(dialects.get("asterisk"))
    assert session.next_packet(0.0) is None
    session.receive(PACED["frames"], 5.0)
    session.send(c.SendAudio(bytes(160 * 10)), 5.0)
    assert session.next_packet(5.02) == bytes(160)
    assert session.next_packet(5.01) is None
    assert session.next_packet(5.04) == bytes(160)


def test_a_stream_does_take_the_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    session = AppSession(dialects.get("asterisk"))
    session.receive(PACED["frames"], 0.0)
    session.send(c.SendAudio(bytes(160 * 10)), 0.0)
    monkeypatch.setattr(Reply, "pump", lambda *_: pytest.fail("the long way"))
    for number in range(1, 9):
        assert session.next_timeout() == pytest.approx(number * 0.02)
        assert session.handle_timeout(session.next_timeout() or 0.0) == [Transmit(bytes(160))]
