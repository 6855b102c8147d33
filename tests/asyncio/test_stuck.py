"""A peer that does not read: what waits for it is bounded, in bytes and in time, and the call ends."""

from __future__ import annotations

import asyncio

import pytest

from callstream_asyncio import Call, LinkClosed, call
from callstream_core import AppSession, dialects
from callstream_core import commands as c

START = "MEDIA_START connection_id:c channel:WebSocket/c/0x1 channel_id:7 format:ulaw optimal_frame_size:160 ptime:20"


class Stuck:
    """A socket whose peer has stopped reading."""

    def __init__(self) -> None:
        self.closed: tuple[int, str] | None = None
        self._waiting = [START]

    async def receive(self) -> str:
        if not self._waiting:
            await asyncio.sleep(60)
            raise LinkClosed(None)
        return self._waiting.pop()

    async def send(self, _message: str | bytes) -> None:
        await asyncio.sleep(60)

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


async def end(socket: Stuck, audio: int) -> Call:
    """Say audio, and wait until the call is over."""
    taken = Call(socket, AppSession(dialects.get("asterisk"), now=asyncio.get_running_loop().time()))
    taken.start()
    async with asyncio.timeout(5):
        await taken.wait_opened()
        taken.say(c.SendAudio(bytes(audio)))
        await taken.wait_gone()
    return taken


def test_a_message_that_is_not_taken_in_time_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_SEND_TIMEOUT", 0.05)
    monkeypatch.setattr(call, "_CLOSE_TIMEOUT", 0.05)
    socket = Stuck()
    taken = asyncio.run(end(socket, 160))
    assert socket.closed == (1008, "the peer has stopped reading")
    assert taken.ended is not None
    assert taken.ended.code == 1008


def test_more_than_may_wait_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_MAX_OUTGOING", 4000)
    monkeypatch.setattr(call, "_CLOSE_TIMEOUT", 0.05)
    socket = Stuck()
    taken = asyncio.run(end(socket, 8000))
    assert socket.closed == (1008, "the peer has stopped reading")
    assert taken.ended is not None
    assert not taken.ended.is_clean
