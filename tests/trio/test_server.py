"""A server and its calls from end to end, with foreign peers and by hand."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import time
from typing import Any

import pytest
import trio
import trio_websocket
import websockets
from wsproto.utilities import generate_accept_token

from callstream_core import Clock
from callstream_core import events as e
from callstream_core.dialects.asterisk import AsteriskProfile
from callstream_trio.call import Call
from callstream_trio.dial import DialSettings, joined
from callstream_trio.hub import Hub
from callstream_trio.listen import open_listeners
from callstream_trio.server import Server
from tests.trio.wire import (
    CLOSE,
    PING,
    START,
    Peer,
    calling,
    connected,
    echo,
    frame,
    request,
    serving,
    settings,
    until,
)

pytestmark = pytest.mark.usefixtures("logs")
JSON_START = (
    '{"event":"MEDIA_START","connection_id":"c","channel":"WebSocket/x","format":"alaw",'
    '"optimal_frame_size":160,"ptime":20,"channel_variables":{}}'
)
FRAMES = [number.to_bytes(2) * 80 for number in range(30)]


# Foreign peers


@pytest.mark.parametrize("path", ["/", "/asterisk"])
async def test_echo_with_websockets(path: str) -> None:
    async def call(port: int) -> tuple[list[str | bytes], int | None]:
        async with websockets.connect(f"ws://127.0.0.1:{port}{path}", subprotocols=["media"]) as peer:  # type: ignore[list-item]
            assert peer.subprotocol == "media"
            await peer.send(START)
            for sent in FRAMES:
                await peer.send(sent)
            heard = [await peer.recv() for _ in FRAMES]
            await peer.close()
            return heard, peer.close_code

    async with serving() as server:
        heard, code = await trio.to_thread.run_sync(asyncio.run, call(server.addresses[0][1]))
        assert heard == FRAMES
        assert code == 1000
        await until(lambda: server.endings == {"ended by platform": 1})


async def test_echo_with_trio_websocket() -> None:
    async with serving() as server:
        url = f"ws://127.0.0.1:{server.addresses[0][1]}/"
        async with trio_websocket.open_websocket_url(url) as peer:
            await peer.send_message(JSON_START)
            for sent in FRAMES:
                await peer.send_message(sent)
                assert await peer.get_message() == sent
        await until(lambda: server.endings == {"ended by platform": 1})


async def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    async with serving(bind="[::1]:0") as server, calling(server) as peer:
        await peer.say(FRAMES[0])
        assert await peer.audio(160) == FRAMES[0]


# Addresses


@pytest.mark.parametrize("bind", ["", "8787", "host", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"])
async def test_what_is_no_address(bind: str) -> None:
    with pytest.raises(ValueError, match="use HOST:PORT"):
        await open_listeners(bind)


async def test_an_address_that_cannot_be_had_leaves_no_listener_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server(echo)
        with pytest.raises(OSError, match="in use"):
            async with server.listening(["127.0.0.1:0", f"127.0.0.1:{port}"]):
                pass
        with pytest.raises(OSError):  # noqa: PT011 (the text is the system's)
            await open_listeners("no-such-host.invalid:0")


# Bounds and draining


async def test_more_calls_than_lines_are_refused() -> None:
    async with serving(max_calls=1) as server, connected(server) as second:
        async with calling(server) as first:
            await first.say(FRAMES[0])
            await first.audio(160)
            assert await second.upgrade() == 503
            assert b"retry-after: 1" in second.head.lower()
        await until(lambda: not server.calls)
        async with calling(server):
            pass
        assert server.endings["refused 503"] == 1


async def test_draining_lets_calls_end_and_refuses_new_ones() -> None:
    finished = trio.Event()
    server = Server(echo, settings=settings(drain_timeout=5))

    async def run(task_status: trio.TaskStatus[None]) -> None:
        async with server.listening(["127.0.0.1:0"]):
            task_status.started()
            await drain.wait()
        finished.set()

    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        async with calling(server) as peer, connected(server) as late, connected(server) as watcher:
            await until(lambda: len(server._handshake_scopes) == 2 and server.calls)
            drain.set()
            await until(lambda: server.is_draining)
            assert await late.upgrade() == 503
            assert await watcher.upgrade(request("/readyz", Upgrade=None)) == 503
            with pytest.raises(OSError, match="connect"):
                await trio.open_tcp_stream(*server.addresses[0])
            await peer.say(*FRAMES)
            assert await peer.audio(160 * len(FRAMES)) == b"".join(FRAMES)
            assert not finished.is_set()
            await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
            with trio.fail_after(1):
                await finished.wait()
    assert server.endings["ended by platform"] == 1


async def test_draining_ends_with_1001_at_its_deadline() -> None:
    async with trio.open_nursery() as nursery:
        async with serving(drain_timeout=0.05) as server:
            peers = [await _open(server, nursery) for _ in range(3)]
            # One that does not agree to the close, either.
            nursery.start_soon(_expect_close, peers[0], 1001)
            nursery.start_soon(_expect_close, peers[1], 1001)
        assert server.endings == {"closed 1001": 3}
        await peers[2].aclose()


async def test_a_cancelled_server_says_1001_at_once() -> None:
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with serving(drain_timeout=60) as server:
                peer = await _open(server, nursery)
                nursery.start_soon(_expect_close, peer, 1001)
                scope.cancel()
                await trio.sleep_forever()


async def _open(server: Server, nursery: trio.Nursery) -> Peer:
    peer = Peer(await trio.open_tcp_stream(*server.addresses[0]))
    assert await peer.upgrade() == 101
    await peer.say(START, FRAMES[0])
    await peer.audio(160)
    return peer


async def _expect_close(peer: Peer, code: int) -> None:
    assert await peer.close_code() == code
    await peer.aclose()


# The other end dials


async def test_a24_as_client_asterisk_gets_what_it_needs_and_nothing_else() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    received = b""

    async def asterisk() -> None:
        nonlocal received
        stream = await listener.accept()
        async with stream:
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some(65536)
            key = re.search(rb"Sec-WebSocket-Key: (.*)\r\n", received)
            assert key
            accept = generate_accept_token(key[1]).decode()
            # As chan_websocket does: the announcement comes in the same segment as the 101.
            head = (
                f"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
            )
            announcement = frame(1, START.encode(), masked=False)
            await stream.send_all(f"{head}\r\n\r\n".encode() + announcement + frame(2, FRAMES[7], masked=False))
            while data := await stream.receive_some(65536):
                received += data
                if b"\x88\x82" in received:
                    await stream.send_all(frame(CLOSE, (1000).to_bytes(2), masked=False))
                    return

    async with trio.open_nursery() as nursery, Hub().running() as hub, listener:
        nursery.start_soon(asterisk)
        url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/media/6a1c"
        async with joined(url, hub, settings=DialSettings(attempts=1)) as call:
            assert await call.wait_opened()
            async for data in call.audio():
                assert data == FRAMES[7]
                break
            await call.play(FRAMES[7])
            await trio.sleep(0.05)
    head, _, sent = received.partition(b"\r\n\r\n")
    assert head.startswith(b"GET /media/6a1c HTTP/1.1\r\n")
    assert b"extensions" not in head.lower()
    assert b"Sec-WebSocket-Protocol: media" in head
    key = re.search(rb"Sec-WebSocket-Key: (.*)", head)
    assert key
    assert len(base64.b64decode(key[1])) == 16
    # One masked binary message, then one masked close: no pong, no ping.
    assert sent[:4] == b"\x82\xfe\x00\xa0"
    mask = sent[4:8] * 40
    assert bytes(a ^ b for a, b in zip(sent[8:168], mask, strict=True)) == FRAMES[7]
    assert sent[168:170] == b"\x88\x82"
    assert len(sent) == 176


async def test_a25_a_ping_is_answered_at_once_even_while_the_platform_says_stop() -> None:
    async with serving() as server, calling(server) as peer:
        await peer.say("MEDIA_XOFF", *FRAMES)
        await peer.raw(frame(PING, b"WS_CLIENT_PING"))
        began = time.monotonic()
        pong = await peer.hear()
        assert getattr(pong, "payload", None) == b"WS_CLIENT_PING"
        assert time.monotonic() - began < 0.2
        await peer.say("MEDIA_XON")
        assert await peer.audio(160 * len(FRAMES)) == b"".join(FRAMES)


async def test_a26_silence_ends_nothing() -> None:
    # Every deadline that a call could have is short here, and over several times.
    bounds: dict[str, Any] = {
        "opening_timeout": 0.05,
        "first_message_timeout": 0.05,
        "send_timeout": 0.05,
        "handshake_timeout": 0.5,
    }
    async with serving(**bounds) as server, calling(server) as peer, calling(server, path="/") as other:
        for silent in (peer, other):
            await silent.say(FRAMES[0])
            await silent.audio(160)
        await trio.sleep(0.4)
        for silent in (peer, other):
            await silent.say(FRAMES[1])
            assert await silent.audio(160) == FRAMES[1]


async def test_what_is_known_of_a_platform_beforehand() -> None:
    # Option `p` is not announced: without the profile, 320 bytes would leave as one message.
    profiles = {"asterisk": AsteriskProfile(format="ulaw", passthrough=True)}
    sent: list[e.SessionOpened] = []

    async def say_two_packets(call: Call) -> None:
        sent.append(call.info)
        await call.play(FRAMES[1])
        await call.play(FRAMES[2])
        await call.wait_ended()

    async with serving(say_two_packets, profiles=profiles) as server, calling(server) as peer:
        assert await peer.audio(320) == FRAMES[1] + FRAMES[2]
    assert sent[0].capabilities.clock is Clock.APP
