"""Peers that mean harm: whatever they do, the server stays up, and the call next to theirs loses nothing."""

from __future__ import annotations

import resource
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.lowlevel
import trustme
from structlog.typing import EventDict

from callstream_core import commands as c
from callstream_core import events as e
from callstream_core.limits import PlayoutSettings
from callstream_trio.call import Call
from callstream_trio.server import Server
from tests.trio.wire import (
    BINARY,
    CLOSE,
    PING,
    START,
    TEXT,
    Peer,
    calling,
    echo,
    frame,
    request,
    serving,
    until,
)

pytestmark = pytest.mark.usefixtures("logs")
_GIANT = 2**21


@asynccontextmanager
async def undisturbed(server: Server) -> AsyncIterator[None]:
    """Keep a call going on the same server; everything that it says must come back, promptly and in order."""
    async with calling(server) as peer, trio.open_nursery() as nursery:
        done = trio.Event()

        async def talk() -> None:
            for number in range(100_000):
                audio = number.to_bytes(4) * 40
                await peer.say(audio)
                assert await peer.audio(160) == audio
                if done.is_set():
                    break
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()

        nursery.start_soon(talk)
        yield
        done.set()


# What is said on the WebSocket, and how it ends: with this close code, counted so.
BROKEN_FRAMES = {
    "unmasked": (frame(BINARY, bytes(160), masked=False), 1002),
    "unmasked short": (frame(TEXT, b"x", masked=False), 1002),
    "reserved bit": (frame(BINARY, bytes(160), reserved=0x40), 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "reserved control": (frame(11, b""), 1002),
    "fragmented ping": (frame(PING, b"", fin=False), 1002),
    "overlong ping": (frame(PING, bytes(126)), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "message in a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "close code 1005": (frame(CLOSE, (1005).to_bytes(2)), 1002),
    "half a close code": (frame(CLOSE, b"\x03"), 1002),
    "negative size": (b"\x82\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
    "padded size": (b"\x82\xfe\x00\x05" + bytes(9), 1002),
    "not UTF-8": (frame(TEXT, b"MEDIA_\xff\xfe"), 1007),
    "not UTF-8 in pieces": (frame(TEXT, b"MEDIA_\xc3", fin=False) + frame(0, b"\x28", fin=False), 1007),
    "oversize, announced": (b"\x82\xff" + _GIANT.to_bytes(8) + b"\0\0\0\0", 1009),
    "oversize in pieces": (frame(BINARY, bytes(600_000), fin=False) + frame(0, bytes(600_000)), 1009),
    "endless fragments": (frame(TEXT, b"a", fin=False) + frame(0, b"", fin=False) * 1100, 1008),
    "flood of pings": (frame(PING) * 20_000, 1008),
    "flood of pongs": (frame(10) * 20_000, 1008),
    "flood of audio": (frame(BINARY, b"x") * 20_000, 1008),
    "flood of texts": (frame(TEXT, b"NOBODY_KNOWS") * 20_000, 1008),
    "broken messages": (frame(TEXT, b'{"event":') * 101 + frame(TEXT, b"MEDIA_START format:") * 101, 1002),
}


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "unopened"])
@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_a_broken_stream_ends_with_its_code(name: str, is_open: bool) -> None:
    sent, code = BROKEN_FRAMES[name]
    async with serving() as server, undisturbed(server):
        async with calling(server, start=START if is_open else None) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(_pour, peer, sent)
            assert await peer.close_code() == code
            nursery.cancel_scope.cancel()
        await until(lambda: len(server.calls) == 1)
        assert server.endings == {f"closed {code}": 1}


async def _pour(peer: Peer, data: bytes) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await peer.stream.send_all(data)


async def test_junk_json_spends_the_budget() -> None:
    async with serving() as server, undisturbed(server), calling(server) as peer:
        await _pour(peer, frame(TEXT, b'MEDIA_START {"event"') * 1000)
        assert await peer.close_code() == 1002
        await until(lambda: server.endings == {"closed 1002": 1})
        assert server.tolerated["misbehaved"] == 101


@pytest.mark.parametrize("path", ["/", "/asterisk"])
async def test_never_any_opening(path: str) -> None:
    async with serving(opening_timeout=0.1, first_message_timeout=0.1) as server, undisturbed(server):
        async with calling(server, start=None, path=path) as peer:
            assert await peer.close_code() == 1002
        await until(lambda: len(server.calls) == 1)


async def test_never_any_opening_among_pings_and_unread_pongs() -> None:
    # Whoever lets our pongs pile up and then reads them has no more time for it.
    async with serving(first_message_timeout=0.2) as server, calling(server, start=None, path="/") as peer:
        for _ in range(10):
            await peer.raw(frame(PING, bytes(100)) * 40)
            await peer.hear()
        assert await peer.close_code() == 1002


async def test_an_unknown_dialect_is_told_so() -> None:
    async with serving() as server, calling(server, start="HELLO", path="/") as peer:
        assert await peer.close_code() == 1002
        await until(lambda: not server.calls)


# Peers that do not read


WIDE = START.replace("ulaw", "slin48").replace(":160", ":1920")


@asynccontextmanager
async def mute(server: Server) -> AsyncIterator[None]:
    """Call through a socket with a tiny receive buffer, from which nothing is ever read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await trio.to_thread.run_sync(sock.connect, server.addresses[0])
        sock.sendall(request() + frame(TEXT, WIDE.encode()))
        yield


async def gush(call: Call) -> None:
    """Say much at once to some, and give others back what they say."""
    if call.info.caller_format.rate == 8000:
        await echo(call)
    for _ in range(200):
        call.say(c.SendAudio(bytes(7680)))
    await call.wait_ended()


@pytest.mark.parametrize("bounds", [{"max_unsent": 100_000}, {"send_timeout": 0.1, "max_unsent": 2**30}])
async def test_a_peer_that_never_reads_has_a_bound_and_a_deadline(bounds: dict[str, Any]) -> None:
    playout = PlayoutSettings(send_ahead=None)
    async with serving(gush, playout=playout, **bounds) as server, undisturbed(server), mute(server):
        await until(lambda: server.endings == {"broken": 1})
        assert len(server.hub) == 1


async def test_a_peer_that_never_reads_cannot_put_off_the_end() -> None:
    async def leave(call: Call) -> None:
        for _ in range(120):
            call.say(c.SendAudio(bytes(7680)))
        call.close(1000)

    playout = PlayoutSettings(send_ahead=None)
    async with serving(leave, playout=playout, send_timeout=0.2) as server, mute(server):
        await until(lambda: server.endings == {"ended by app": 1})


# Resets, silence, and storms


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("sent", [b"", request()[:40], request(), request() + frame(TEXT, START.encode())])
async def test_a_reset_at_any_stage(sent: bytes) -> None:
    async with serving() as server, undisturbed(server):
        for delay in (0, 0.02):
            sock = socket.create_connection(server.addresses[0])
            sock.sendall(sent)
            await trio.sleep(delay)
            _reset(sock)
        await until(lambda: sum(server.endings.values()) == 2 and len(server.calls) == 1)


async def test_half_a_frame_and_silence_harms_nobody() -> None:
    async with serving() as server, undisturbed(server):
        async with calling(server) as peer:
            await peer.raw(frame(BINARY, bytes(160))[:100])
            await trio.sleep(0.05)
            await peer.raw(frame(BINARY, bytes(160))[100:])
            assert await peer.audio(160) == bytes(160)
            await peer.raw(frame(BINARY, bytes(160))[:100])
        await until(lambda: server.endings == {"broken": 1})


def _storm(address: tuple[str, int]) -> None:
    for number in range(1500):
        sock = socket.create_connection(address)
        if number % 3:
            sock.sendall(request() + frame(TEXT, START.encode()))
        if number % 2:
            _reset(sock)
        else:
            sock.close()


async def test_a_storm_of_connections_leaves_nothing_behind() -> None:
    async with serving() as server, undisturbed(server):
        await trio.to_thread.run_sync(_storm, server.addresses[0])
        await until(lambda: sum(server.endings.values()) == 1500)
        assert len(server.calls) == 1
        assert len(server.hub) == 1
        # Their opening deadlines are not due yet, but they hold nothing.
        assert len(server.hub._deadlines) < 600


async def test_out_of_files_while_accepting(logs: list[EventDict]) -> None:
    async with serving() as server, undisturbed(server):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting: list[socket.socket] = []
        try:
            files = [socket.socket() for _ in range(8)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (files[-1].fileno() + 1, hard))
            # The client's end takes the last file, so that there is none for the server's.
            files.pop().close()
            waiting.append(socket.create_connection(server.addresses[0]))
            await until(lambda: server.endings["not accepted"] >= 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for sock in files:
            sock.close()
        waiting[0].sendall(request("/healthz", Upgrade=None))
        assert b"200" in await trio.to_thread.run_sync(waiting[0].recv, 100)
        waiting[0].close()
        assert sum(entry["event"].startswith("cannot accept") for entry in logs) == 1


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\xff" * 1000])
@pytest.mark.parametrize("is_reset", [True, False])
async def test_tls_garbage_and_resets(authority: trustme.CA, sent: bytes, is_reset: bool) -> None:
    ours, theirs = _contexts(authority)
    async with serving(tls=ours, handshake_timeout=0.3) as server, calling(server, tls=theirs) as neighbour:
        sock = socket.create_connection(server.addresses[0])
        sock.sendall(sent)
        await trio.sleep(0.01)
        if is_reset:
            _reset(sock)
        await until(lambda: sum(server.endings.values()) == 1)
        sock.close()
        await neighbour.say(bytes(160))
        assert await neighbour.audio(160)


async def test_tls_that_breaks_in_a_call(authority: trustme.CA) -> None:
    ours, theirs = _contexts(authority)
    async with serving(tls=ours) as server, calling(server, tls=theirs) as peer:
        await peer.say(bytes(160))
        assert await peer.audio(160)
        stream = peer.stream
        assert isinstance(stream, trio.SSLStream)
        await stream.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await peer.close_code() is None
        await until(lambda: server.endings == {"broken": 1})


# Handlers


async def test_a_handler_that_raises_ends_its_call_alone(logs: list[EventDict]) -> None:
    async def handler(call: Call) -> None:
        if call.request and call.request.query:
            raise RuntimeError("our own mistake")
        await echo(call)

    async with serving(handler) as server, undisturbed(server):
        async with calling(server, path="/asterisk?fail") as peer:
            assert await peer.close_code() == 1011
        await until(lambda: server.endings == {"closed 1011": 1})
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["handler failed"]


async def test_a_handler_that_returns_hangs_up() -> None:
    async def handler(call: Call) -> None:
        await call.answer()

    async with serving(handler) as server, calling(server) as peer:
        assert await peer.hear() == "ANSWER"
        assert await peer.hear() == "HANGUP"
        await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
        assert await peer.close_code() == 1000
        await until(lambda: server.endings == {"ended by app": 1})


async def test_a_handler_that_ignores_the_end_has_its_grace(logs: list[EventDict]) -> None:
    async def handler(_: Call) -> None:
        await trio.sleep_forever()

    async with serving(handler, handler_grace=0.05) as server:
        async with calling(server):
            await until(lambda: server.calls)
        await until(lambda: not server.calls)
    assert [entry["event"] for entry in logs] == ["handler cancelled: it ran on after its call"]


async def test_a_handler_that_plays_on_is_stopped_by_the_end() -> None:
    async def handler(call: Call) -> None:
        while True:
            await call.play(bytes(16_000))

    async with serving(handler) as server:
        async with calling(server) as peer:
            await peer.audio(8000)
            await peer.say("MEDIA_XOFF")
        await until(lambda: server.endings == {"broken": 1} and not server.calls)


class Faulty:
    """A sink with a mistake in it."""

    def take(self, audio: e.AudioReceived, _now: float) -> tuple[c.Command, ...]:
        if audio.data == b"now":
            raise ZeroDivisionError
        return (c.SendAudio(audio.data),)


async def test_a_link_whose_insides_raise_is_dropped_alone(logs: list[EventDict]) -> None:
    async def handler(call: Call) -> None:
        call.connect(Faulty())
        await call.wait_ended()

    async with serving(handler) as server, undisturbed(server):
        async with calling(server) as peer:
            await peer.say(bytes(160))
            assert await peer.audio(160)
            await peer.say(b"now", b"now", bytes(160))
            assert await peer.close_code() == 1011
        await until(lambda: server.endings == {"closed 1011": 1})
        assert server.hub.dropped == 1
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["call dropped: its link failed"]
