"""Packets of a paced stream take a short cut through the session: nobody may see a difference."""

from __future__ import annotations

import math
import re
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
from callstream_core.paced_run import MAX_PACKETS
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
        st.tuples(st.just("stream"), st.integers(1, 9)),
        st.tuples(st.just("look"), st.none()),
        st.tuples(st.just("due"), st.sampled_from([0.0, 0.0004, 0.019, 0.1])),
        st.tuples(st.just("say"), st.sampled_from([c.PlaceMark("m"), c.ClearPlayout(), c.EndUtterance("u")])),
        st.tuples(st.just("say"), st.sampled_from([c.PausePlayout(), c.ResumePlayout(), c.ReportDrained()])),
        st.tuples(st.just("hear"), st.sampled_from(["MEDIA_XOFF", "MEDIA_XON", STATUS.format(0), STATUS.format(7)])),
    ),
    max_size=60,
)


def _handle(session: AppSession, now: float, *, takes: bool) -> list[object]:
    packet = session.paced.take(now) if takes else None
    if packet is None:
        return [*session.handle_timeout(now)]
    due = session.next_timeout()
    return [Transmit(packet), *(session.handle_timeout(now) if due is not None and due <= now else ())]


def _run(opening: str, script: list[tuple[str, Any]], *, takes: bool = False) -> list[str]:
    """Return all that anybody can see of a session, to the microsecond."""
    session = AppSession(
        dialects.get("asterisk"), limits=Limits(max_burst_packets=4), settings=PlayoutSettings(status_interval=0.5)
    )
    now = 100.0
    seen: list[object] = [session.receive(opening, now)]
    for what, value in [*script, ("look", None)]:
        try:
            if what == "play":
                seen.append(session.send(c.SendAudio(bytes(value)), now))
            elif what == "say":
                seen.append(session.send(value, now))
            elif what == "hear":
                seen.append(session.receive(value, now))
            elif what == "wait":
                now += value
                seen.append(_handle(session, now, takes=takes))
            elif what == "look":
                seen += [session.heard(now), session.backlog(now), session.pending, session.room]
            for _ in range({"due": 1, "stream": value}.get(what, 0)):
                if (due := session.next_timeout()) is not None:
                    now = max(now, due + (value if what == "due" else 0.0003))
                    seen.append(_handle(session, now, takes=takes))
        except LocalProtocolError as error:
            seen.append(repr(error))
        seen.append(session.next_timeout())
    return [re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.6f}", repr(each)) for each in seen]


@pytest.mark.parametrize("kind", PACED)
@given(script=steps)
def test_a_run_does_what_the_session_itself_would_do(kind: str, script: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reply, "lend", lambda _reply: None)
        by_itself = _run(PACED[kind], script)
    assert _run(PACED[kind], script) == by_itself
    assert _run(PACED[kind], script, takes=True) == by_itself


def _streaming(frames: int, **limits: Any) -> AppSession:
    session = AppSession(dialects.get("asterisk"), settings=PlayoutSettings(**limits))
    session.receive(PACED["frames"], 0.0)
    session.send(c.SendAudio(b"".join(bytes([number % 256]) * 160 for number in range(frames))), 0.0)
    return session


def test_a_stream_leaves_without_the_session() -> None:
    session = _streaming(10)
    for number in range(1, 9):
        due = session.paced.due
        assert due == session.next_timeout() == pytest.approx(number * 0.02)
        assert session.paced.take(due - 0.001) is None
        assert session.paced.take(due + 0.0199) == bytes([number]) * 160
    # The last packet of a piece is for the session.
    due = session.paced.due
    assert due == pytest.approx(0.18)
    assert session.paced.take(due) is None
    assert session.handle_timeout(due) == [Transmit(bytes([9]) * 160)]


def test_packets_that_are_late_leave_one_by_one() -> None:
    session = _streaming(10)
    assert [session.paced.take(0.0601) for _ in range(4)] == [*(bytes([number]) * 160 for number in (1, 2, 3)), None]
    assert session.paced.due == pytest.approx(0.08)


def test_more_than_may_leave_at_once_are_for_the_session() -> None:
    session = _streaming(100)
    late = 0.02 * 65 + 0.001
    assert session.paced.take(late) is None
    assert len(session.handle_timeout(late)) == 64


def test_a_run_ends_before_another_deadline() -> None:
    session = _streaming(100, status_interval=0.5)
    packets = 0
    while session.paced.take(session.paced.due) is not None:
        packets += 1
    assert 0.48 < session.paced.due < 0.5 + 1e-9
    assert packets == 24
    taken = [*session.handle_timeout(session.paced.due), *session.handle_timeout(0.5)]
    assert Transmit("GET_STATUS") in taken


def test_a_run_is_not_endless() -> None:
    session = _streaming(1000, status_interval=None)
    count = 0
    while session.paced.take(session.paced.due) is not None:
        count += 1
    assert count == MAX_PACKETS
    assert len(session.handle_timeout(session.paced.due)) == 1
    assert session.paced.due < math.inf


def test_whoever_looks_has_the_run_counted_up() -> None:
    session = _streaming(10)
    for _ in range(5):
        session.paced.take(session.paced.due)
    assert session.pending == 4 * 160
    assert session.heard(0.1) == pytest.approx(0.1)
    # And the run goes on.
    assert session.paced.due == session.next_timeout() == pytest.approx(0.12)
    assert session.paced.count == 5


def test_a_grid_does_not_drift_from_run_to_run() -> None:
    session = _streaming(50, status_interval=None)
    sent = 1
    for _ in range(20_000):
        due = session.next_timeout()
        assert due is not None
        # By the grid, to the nanosecond, after seven minutes.
        assert due == pytest.approx(sent * 0.02, abs=1e-9)
        sent += (session.paced.take(due) is not None) or len(session.handle_timeout(due))
        if session.pending < 160 * 3:
            session.send(c.SendAudio(bytes(160 * 50)), due)
