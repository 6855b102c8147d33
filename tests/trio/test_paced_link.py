"""A link sends the packets of a paced run by itself; what else it must watch over is not forgotten meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from callstream_core import AppSession, dialects
from callstream_core import commands as c
from callstream_core.machine import State
from callstream_core.websocket import FrameDecoder, FrameEncoder
from callstream_trio.link import Link
from callstream_trio.link_limits import LinkLimits
from callstream_trio.owner import NOBODY

START = "MEDIA_START connection_id:c channel:W/c/0x1 channel_id:1 format:ulaw optimal_frame_size:160 ptime:20 "
LIMITS = LinkLimits(send_timeout=3.0, max_unsent=1000_000)


class Still:
    """A hub that only remembers; the test calls in its place."""

    def __init__(self) -> None:
        self.wants_write = False
        self.due: float | None = None

    def add(self, _served: Any) -> None: ...

    def remove(self, _served: Any) -> None: ...

    def want_write(self, _served: Any, wanted: bool) -> None:
        self.wants_write = wanted

    def schedule(self, timed: Any, deadline: float) -> None:
        timed.scheduled = self.due = deadline


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("callstream_trio.link.clock", clock)
    return clock


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def streaming(hub: Still, ours: socket.socket, clock: Clock, seconds: int) -> Link:
    session = AppSession(dialects.get("asterisk"), now=clock.now)
    link = Link(hub, ours, session, NOBODY, is_client=False, limits=LIMITS)  # type: ignore[arg-type]
    key = FrameEncoder(mask=lambda: b"abcd")
    link.start(key.message(START + "unbuffered:true"))
    link.say(c.SendAudio(bytes(8000 * seconds)))
    return link


def ring(link: Link, hub: Still, clock: Clock, until: float) -> None:
    while not link.is_gone and hub.due is not None and hub.due <= until:
        clock.now, link.scheduled = hub.due, None
        link.handle_deadline(clock.now)


def test_each_packet_leaves_when_it_is_due(
    clock: Clock, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, (ours, theirs) = Still(), ends
    link = streaming(hub, ours, clock, 2)
    monkeypatch.setattr(AppSession, "handle_timeout", lambda *_: pytest.fail("not by the session"))
    ring(link, hub, clock, 1000.0 + 0.02 * 50 + 0.001)
    heard = FrameDecoder(masked=False).feed(theirs.recv(65536))
    assert heard == [bytes(160)] * 51
    assert link.messages_sent == 51
    # We wake late: all that is due leaves in one piece.
    late = clock.now = 1000.0 + 0.02 * 54 + 0.001
    link.handle_deadline(late)
    assert len(theirs.recv(65536)) == 4 * 164
    assert hub.due == pytest.approx(1000.0 + 0.02 * 55)


def test_a_peer_that_does_not_read_is_given_up_in_the_midst_of_a_run(
    clock: Clock, ends: tuple[socket.socket, socket.socket]
) -> None:
    hub, (ours, _) = Still(), ends
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    link = streaming(hub, ours, clock, 60)
    while not hub.wants_write:
        ring(link, hub, clock, clock.now + 0.02)
    blocked_at = clock.now
    ring(link, hub, clock, 1060.0)
    assert link.is_gone
    assert clock.now == pytest.approx(blocked_at + LIMITS.send_timeout, abs=0.021)


def test_nothing_leaves_behind_a_close(clock: Clock, ends: tuple[socket.socket, socket.socket]) -> None:
    hub, (ours, theirs) = Still(), ends
    link = streaming(hub, ours, clock, 2)
    link.fail(1011, "over")
    said = theirs.recv(65536)
    ring(link, hub, clock, 1000.5)
    assert isinstance(link.session, AppSession)
    assert link.session.state is State.CLOSED
    with pytest.raises(BlockingIOError):
        theirs.recv(65536)
    assert len(FrameDecoder(masked=False).feed(said)) == 2
