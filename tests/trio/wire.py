"""A server to test, and a peer that says exactly the bytes that a test wants."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import attrs
import trio
from wsproto.utilities import generate_accept_token

from callstream_core.websocket import Close, Failure, FrameDecoder, Incoming
from callstream_trio.call import Call
from callstream_trio.hub import Hub
from callstream_trio.link_limits import LinkLimits
from callstream_trio.server import Handler, Server, ServerLimits, ServerSettings
from callstream_trio.sinks import Echo

PATIENCE = 5.0
"""Seconds after which a test gives up waiting. Nothing that works takes nearly as long."""

START = (
    "MEDIA_START connection_id:c channel:WebSocket/x/0x1 channel_id:1700000000.1 "
    "format:ulaw optimal_frame_size:160 ptime:20"
)
KEY = base64.b64encode(b"\1\2\3\4\5\6\7\x08" + bytes(8)).decode()

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def echo(call: Call) -> None:
    """Give the caller back what he says."""
    call.connect(Echo())
    await call.wait_ended()


def settings(**changes: Any) -> ServerSettings:
    """Return settings by the names of their fields, wherever they are; drain without delay."""
    values: Any = ServerSettings(limits=ServerLimits(drain_timeout=0.1), link_limits=LinkLimits(close_timeout=0.1))
    for name, value in changes.items():
        if hasattr(values, name):
            values = attrs.evolve(values, **{name: value})
            continue
        [part] = [part.name for part in attrs.fields(ServerSettings) if hasattr(getattr(values, part.name), name)]
        values = attrs.evolve(values, **{part: attrs.evolve(getattr(values, part), **{name: value})})
    return cast(ServerSettings, values)


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    *,
    hub: Hub | None = None,
    tls: ssl.SSLContext | None = None,
    bind: str = "127.0.0.1:0",
    **changes: Any,
) -> AsyncIterator[Server]:
    """Run a server on a free port."""
    server = Server(handler, settings=settings(**changes), hub=hub, tls=tls)
    async with server.listening([bind]):
        yield server


def request(path: str = "/asterisk", *, method: str = "GET", version: str = "1.1", **headers: str | None) -> bytes:
    """Return an upgrade request as Asterisk writes it; None leaves a header out."""
    values: dict[str, str | None] = {
        "Sec-WebSocket-Version": "13",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Host": "127.0.0.1:8787",
        "Sec-WebSocket-Protocol": None,
        "Sec-WebSocket-Key": KEY,
    }
    values |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/{version}", *(f"{k}: {v}" for k, v in values.items() if v is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """Return one frame of a client, however wrong."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        length = bytes([bit | size])
    elif size < 65536:
        length = bytes([bit | 126]) + size.to_bytes(2)
    else:
        length = bytes([bit | 127]) + size.to_bytes(8)
    head = bytes([(0x80 if fin else 0) | reserved | opcode]) + length
    if not masked:
        return head + payload
    key = b"\x21\x43\x65\x87"
    pattern = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload) ^ int.from_bytes(pattern)).to_bytes(size)


class Peer:
    """A client by hand."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.head = b""
        self._decoder = FrameDecoder(masked=False)
        self._heard: list[Incoming] = []
        self._rest = b""

    async def raw(self, data: bytes) -> None:
        """Send bytes."""
        with trio.fail_after(PATIENCE):
            await self.stream.send_all(data)

    async def say(self, *messages: str | bytes) -> None:
        """Send whole messages, in one write."""
        await self.raw(b"".join(frame(TEXT, m.encode()) if isinstance(m, str) else frame(BINARY, m) for m in messages))

    async def upgrade(self, data: bytes | None = None) -> int:
        """Send a request; return the status of the answer, and keep its head."""
        await self.raw(request() if data is None else data)
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in self.head:
                more = await self.stream.receive_some(65536)
                if not more:
                    break
                self.head += more
        self.head, _, self._rest = self.head.partition(b"\r\n\r\n")
        return int(self.head.split(b" ")[1]) if self.head else 0

    async def body(self) -> bytes:
        """Return all that comes behind the head of an answer."""
        with trio.fail_after(PATIENCE):
            while more := await self.stream.receive_some(65536):
                self._rest += more
        return self._rest

    async def hear(self) -> Incoming | None:
        """Return the next message or control frame; None at the end."""
        with trio.fail_after(PATIENCE):
            while not self._heard:
                data, self._rest = self._rest, b""
                try:
                    data = data or bytes(await self.stream.receive_some(65536))
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self._heard += self._decoder.feed(data)
        return self._heard.pop(0)

    async def audio(self, size: int) -> bytes:
        """Return so many bytes of audio."""
        heard = b""
        while len(heard) < size:
            message = await self.hear()
            assert isinstance(message, bytes), message
            heard += message
        return heard

    async def close_code(self) -> int | None:
        """Read to the end; return the close code that came, or None for none."""
        code = None
        while (message := await self.hear()) is not None:
            assert not isinstance(message, Failure), message
            if isinstance(message, Close):
                code = message.code
                if code is not None:
                    # It may have been cut already, or be busy with what it pours out.
                    with suppress(trio.BrokenResourceError, trio.BusyResourceError):
                        await self.raw(frame(CLOSE, code.to_bytes(2)))
        return code

    async def aclose(self) -> None:
        """Go away without a word."""
        await trio.aclose_forcefully(self.stream)


@asynccontextmanager
async def connected(server: Server, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Connect, and nothing more."""
    host, port = server.addresses[0]
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname="localhost", https_compatible=True)
    peer = Peer(stream)
    try:
        yield peer
    finally:
        await peer.aclose()


@asynccontextmanager
async def calling(
    server: Server, *, start: str | None = START, tls: ssl.SSLContext | None = None, path: str = "/asterisk"
) -> AsyncIterator[Peer]:
    """Call by hand, up to the announcement."""
    async with connected(server, tls) as peer:
        assert await peer.upgrade(request(path)) == 101, peer.head
        assert f"Sec-WebSocket-Accept: {generate_accept_token(KEY.encode()).decode()}".encode() in peer.head
        if start is not None:
            await peer.say(start)
        yield peer


async def until(is_true: Callable[[], object]) -> None:
    """Wait for something that no one announces."""
    with trio.fail_after(PATIENCE):
        while not is_true():  # noqa: ASYNC110 (nobody sets an event for it)
            await trio.sleep(0.002)
