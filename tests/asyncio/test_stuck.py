"""A peer that does not read: what waits for it is bounded, in bytes and in time, and the call ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from callstream_asyncio import Call, LinkClosed, WebsocketsSocket, call
from callstream_core import AppSession, PlayoutSettings, dialects
from callstream_core import commands as c
from tests.trio.wire import TEXT, frame, request

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


async def pour(port: int) -> socket.socket:
    """Call by hand, and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    start = START.replace("ulaw optimal_frame_size:160", "slin192 optimal_frame_size:7680")
    await loop.sock_sendall(client, request("/asterisk", Sec_WebSocket_Protocol="media") + frame(TEXT, start.encode()))
    return client


def test_a_stuck_connection_of_websockets_does_not_outlive_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    server_of = pytest.importorskip("websockets.asyncio.server")
    monkeypatch.setattr(call, "_CLOSE_TIMEOUT", 0.1)

    async def take(connection: Any) -> None:
        session = AppSession(dialects.get("asterisk"), settings=PlayoutSettings(send_ahead=None))
        taken = Call(WebsocketsSocket(connection), session)
        taken.start()
        await taken.wait_opened()
        taken.say(c.SendAudio(bytes(4_000_000)))
        await taken.wait_gone()
        gone.set()

    gone = asyncio.Event()

    async def main() -> None:
        async with asyncio.timeout(5):
            async with server_of.serve(take, "127.0.0.1", 0, subprotocols=["media"], compression=None) as server:
                with await pour(server.sockets[0].getsockname()[1]):
                    await gone.wait()
                    # Leaving the block waits for every handler of the library to return.
                    server.close()
                    await server.wait_closed()

    asyncio.run(main())
