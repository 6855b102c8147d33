"""Calls over TLS."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
import trio
import trustme

from callstream_trio.call import Call
from callstream_trio.dial import DialFailed, DialSettings, joined
from callstream_trio.hub import Hub
from callstream_trio.server import Server
from tests.trio.wire import (
    BINARY,
    CLOSE,
    PATIENCE,
    START,
    TEXT,
    Peer,
    calling,
    connected,
    frame,
    request,
    serving,
    until,
)

pytestmark = pytest.mark.usefixtures("logs")
_AUTHORITY = trustme.CA()


def ours() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def theirs(authority: trustme.CA = _AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class Tapped(trio.abc.Stream):
    """A stream that keeps what came, as it came."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.came = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self.stream.receive_some(max_bytes))
        self.came += data
        return data

    async def aclose(self) -> None:
        await self.stream.aclose()

    @property
    def records(self) -> int:
        """How many whole TLS records of data came."""
        count = at = 0
        while at + 5 <= len(self.came):
            count += self.came[at] == 23
            at += 5 + int.from_bytes(self.came[at + 3 : at + 5])
        assert at == len(self.came)
        return count


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_echo(version: ssl.TLSVersion) -> None:
    client = theirs()
    client.minimum_version = client.maximum_version = version
    async with serving(tls=ours()) as server, calling(server, tls=client) as peer:
        audio = bytes(range(256)) * 5
        await peer.say(audio[:160], audio[160:])
        assert await peer.audio(1280) == audio
        await peer.raw(frame(CLOSE, (1000).to_bytes(2)))
        assert await peer.close_code() == 1000
        await until(lambda: server.endings == {"ended by platform": 1})


async def test_each_message_has_a_record_of_its_own() -> None:
    # Asterisk takes one message from a record, and leaves the others until more data comes.
    async with serving(tls=ours()) as server:
        tap = Tapped(await trio.open_tcp_stream(*server.addresses[0]))
        peer = Peer(trio.SSLStream(tap, theirs(), server_hostname="localhost"))
        assert await peer.upgrade(request()) == 101
        await peer.say(START, bytes(160))
        await peer.audio(160)
        tap.came = b""
        await peer.say(*(bytes([n]) * 160 for n in range(7)))
        await peer.audio(7 * 160)
        assert tap.records == 7
        await peer.aclose()


async def test_a_request_that_comes_together_with_the_end_of_the_handshake() -> None:
    # TLS 1.3: the client's last handshake record and its request may come in one piece.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs().wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with serving(tls=ours(), handshake_timeout=2) as server:
        stream = await trio.open_tcp_stream(*server.addresses[0])
        async with stream:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await stream.send_all(outgoing.read())
                    incoming.write(await stream.receive_some(65536))
            client.write(request() + frame(TEXT, START.encode()) + frame(BINARY, bytes(160)))
            await stream.send_all(outgoing.read())
            heard = b""
            with trio.fail_after(1):
                while not heard.endswith(bytes(160)):
                    incoming.write(await stream.receive_some(65536))
                    with suppress(ssl.SSLWantReadError):
                        while True:
                            heard += client.read(65536)
            assert heard.startswith(b"HTTP/1.1 101")


async def test_half_a_handshake_has_a_deadline() -> None:
    async with serving(tls=ours(), handshake_timeout=0.1) as server, connected(server) as peer:
        await peer.raw(b"\x16\x03\x01\x02\x00\x01")
        assert await peer.body() == b""
        assert server.endings == {"handshake timed out": 1}


async def test_plain_http_on_a_tls_port_ends_at_once() -> None:
    async with serving(tls=ours()) as server, connected(server) as peer:
        await peer.raw(request())
        with trio.fail_after(1):
            with suppress(trio.BrokenResourceError):
                await peer.body()
        await until(lambda: server.endings == {"handshake failed": 1})


async def _dialled(server: Server, context: ssl.SSLContext) -> None:
    settings = DialSettings(attempts=1, tls=context)
    url = f"wss://127.0.0.1:{server.addresses[0][1]}/asterisk"
    async with Hub().running() as hub, joined(url, hub, settings=settings) as call:
        assert not call.is_open


async def test_a_dialled_server_must_be_the_right_one() -> None:
    async with serving(tls=ours()) as server:
        await _dialled(server, theirs())
        with pytest.raises(DialFailed, match="certificate verify failed"):
            await _dialled(server, theirs(trustme.CA()))
        await until(lambda: server.endings["handshake failed"] == 1)


async def test_goodbyes_are_said_and_heard() -> None:
    async def handler(call: Call) -> None:
        await call.wait_ended()

    async with serving(handler, tls=ours()) as server:
        async with calling(server, tls=theirs()) as peer:
            await until(lambda: server.calls)
            # The peer ends TLS, and leaves the connection open.
            stream = peer.stream
            assert isinstance(stream, trio.SSLStream)
            tcp = stream.transport_stream
            with pytest.raises(ssl.SSLWantReadError):
                stream._ssl_object.unwrap()
            await tcp.send_all(stream._outgoing.read())
            await until(lambda: server.endings == {"broken": 1})
        async with connected(server, theirs()) as peer:
            # A reader that insists on a proper end gets one, also with a refusal.
            assert isinstance(peer.stream, trio.SSLStream)
            peer.stream._https_compatible = False
            assert await peer.upgrade(request("/nowhere")) == 404
            with trio.fail_after(PATIENCE):
                assert b"No calls" in await peer.body()
