"""Whatever a peer sends, neither end raises, and nothing grows past its limit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.app_session import AppSession
from callstream_core.dialects.asterisk import DIALECT, AsteriskProfile, Generation, Syntax
from callstream_core.errors import LocalProtocolError
from callstream_core.limits import Limits
from callstream_core.machine import State
from callstream_core.outputs import Output
from callstream_core.platform_session import PlatformSession

QUICK = settings(derandomize=True, deadline=None, max_examples=300)
LIMITS = Limits(max_pending_audio=20_000, max_pending_items=20, max_marks=10, max_inquiries=5, max_early_audio=1000)

PLAIN = [
    "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:1.0 format:ulaw optimal_frame_size:160 ptime:20",
    "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:1.0 format:opus optimal_frame_size:0 ptime:20",
    "MEDIA_XOFF",
    "MEDIA_XON",
    "STATUS channel_id:1.0 queue_length:5 xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false",  # noqa: E501
    "MEDIA_MARK_PROCESSED a",
    "MEDIA_BUFFERING_COMPLETED a",
    "QUEUE_DRAINED",
    "DTMF_END digit:1 channel_id:1.0",
    "ERROR channel_id:1.0 error_text:MARK_MEDIA not supported in passthrough mode",
]
JSON = [
    '{"event":"MEDIA_START","connection_id":"c","channel":"W/c","channel_id":"1.0","format":"slin16",'
    '"optimal_frame_size":640,"ptime":20,"channel_variables":{"A":"1"}}',
    '{"event":"STATUS","channel_id":"1.0","queue_length":7,"xon_level":800,"xoff_level":900,"queue_full":true,'
    '"bulk_media":false,"media_paused":true}',
    '{"event":"MEDIA_MARK_PROCESSED","channel_id":"1.0","correlation_id":"a"}',
    '{"event":"QUEUE_DRAINED","channel_id":"1.0"}',
    '{"event":"MEDIA_XOFF","channel_id":"1.0"}',
    '{"event":"ERROR","channel_id":"1.0","error_text":"FLUSH_MEDIA not supported in passthrough mode"}',
]
SAID_TO_PLATFORM = [
    *("ANSWER", "START_MEDIA_BUFFERING", "STOP_MEDIA_BUFFERING a", "FLUSH_MEDIA", "PAUSE_MEDIA", "CONTINUE_MEDIA"),
    *("REPORT_QUEUE_DRAINED", "GET_STATUS", "MARK_MEDIA a", "HANGUP", '{"command":"GET_STATUS"}'),
    *('{"command":"MARK_MEDIA","correlation_id":"a"}', '{"command":"SET_MEDIA_DIRECTION","direction":"in"}'),
    '{"command":"FLUSH_MEDIA"}',
]
COMMANDS: list[c.Command] = [
    *(c.SendAudio(bytes(1600)), c.SendAudio(b"x" * 161), c.EndUtterance(), c.EndUtterance("a"), c.PlaceMark("a")),
    *(c.ClearPlayout(), c.PausePlayout(), c.ResumePlayout(), c.RequestStatus(), c.ReportDrained()),
    *(c.SetDirection(e.Direction.IN), c.SetDirection(e.Direction.BOTH), c.StartBuffering(), c.StopBuffering("a")),
    *(c.HangUp(c.When.AFTER_PLAYOUT), c.SendDigit("1")),
]


@st.composite
def damaged(draw: st.DrawFn, messages: list[str]) -> str:
    """Return a valid message, or one that is cut, spliced, or strewn with other characters."""
    text = draw(st.sampled_from(messages))
    if draw(st.booleans()):
        return text
    at = draw(st.integers(0, len(text)))
    other = draw(st.sampled_from([*messages, "\ud800", "\0", "9" * 20, "-1", "true", "[", "1e999", ""]) | st.text())
    return text[:at] + other[draw(st.integers(0, len(other))) :] + (text[at:] if draw(st.booleans()) else "")


def any_message(messages: list[str]) -> st.SearchStrategy[str | bytes]:
    return damaged(messages) | damaged(messages) | st.text() | st.binary(max_size=700)


@QUICK
@given(
    start=st.sampled_from([PLAIN[0], PLAIN[1], JSON[0], None]),
    steps=st.lists(
        st.tuples(any_message(PLAIN + JSON) | st.sampled_from(COMMANDS), st.sampled_from([0.0, 0.02, 0.6, 5.0])),
        max_size=60,
    ),
)
def test_the_application_end_takes_anything(
    start: str | None, steps: list[tuple[str | bytes | c.Command, float]]
) -> None:
    app = AppSession(DIALECT, limits=LIMITS, now=0.0)
    out: list[Output] = app.receive(start, 0.0) if start else []
    now, marks, clears = 0.0, 0, 0
    for step, wait in steps:
        now += wait
        out += app.handle_timeout(now)
        due = app.next_timeout()
        assert due is None or due > now
        if isinstance(step, str | bytes):
            out += app.receive(step, now)
            continue
        try:
            out += app.send(step, now)
        except LocalProtocolError:
            continue
        marks += getattr(step, "name", None) is not None
        clears += isinstance(step, c.ClearPlayout)
        assert app.pending <= LIMITS.max_pending_audio + 640
        assert app.backlog(now) >= 0
        assert app.heard(now) >= -1e-9
    if app.state is not State.CLOSED:
        out += app.receive_close(1006, now)
    answers = [said for said in out if isinstance(said, e.MarkReached | e.BufferingCompleted)]
    assert len(answers) == marks
    assert sum(isinstance(said, e.PlayoutCleared) for said in out) == clears
    assert isinstance(out[-1], e.SessionClosed)
    assert sum(isinstance(said, e.SessionClosed) for said in out) == 1


@QUICK
@given(
    generation=st.sampled_from(Generation),
    is_json=st.booleans(),
    format=st.sampled_from(["ulaw", "opus"]),
    steps=st.lists(st.tuples(any_message(SAID_TO_PLATFORM), st.sampled_from([0.0, 0.02, 0.6])), max_size=60),
)
def test_the_platform_end_takes_anything(
    generation: Generation, is_json: bool, format: str, steps: list[tuple[str | bytes, float]]
) -> None:
    syntax = Syntax.JSON if is_json and generation >= Generation.G3 else Syntax.PLAIN
    platform = PlatformSession(DIALECT, AsteriskProfile(generation=generation, syntax=syntax, format=format))
    platform.open(0.0)
    now = 0.0
    for step, wait in steps:
        now += wait
        platform.handle_timeout(now)
        due = platform.next_timeout()
        assert due is None or due > now
        platform.receive(step, now)
        assert platform.playout.queue_length <= 1000 + 5


def test_too_much_nonsense_ends_the_call_once() -> None:
    app = AppSession(DIALECT, limits=Limits(max_misbehaviour=3))
    app.receive(PLAIN[0], 0.0)
    for _ in range(3):
        [said] = app.receive("STATUS queue_length:many", 0.1)
        assert isinstance(said, e.PeerMisbehaved)
    out = app.receive("STATUS queue_length:many", 0.1)
    assert [type(said).__name__ for said in out] == ["PeerMisbehaved", "CloseLink", "SessionClosed"]
    assert app.receive(PLAIN[0], 0.1) == []


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10**6])
def test_a_text_beyond_its_limit_is_not_read(size: int) -> None:
    [said] = AppSession(DIALECT).receive("{" * size, 0.0)
    assert isinstance(said, e.PeerMisbehaved)
    assert str(size) in said.reason
