"""Waiting on plain non-blocking sockets, for the phases outside the hub."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from callstream_trio.tls import Tls

# Seconds until a silent peer is asked whether it still lives, between such questions, and how many go unanswered.
_KEEPALIVE = (("TCP_KEEPIDLE", 20), ("TCP_KEEPALIVE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))

# Bytes that the system may hold for a peer that does not read: seconds of the widest audio. Left alone, it takes 4 MB.
_SEND_BUFFER = 256 * 1024


def prepare(sock: socket.socket) -> None:
    """Make a TCP socket fit for a call: it never blocks, never holds back a frame, and notices a dead peer.

    WebSocket pings are not for that: there are platforms that die of them, and silence is normal.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def receive_some(sock: socket.socket, size: int = 16384) -> bytes:
    """Return what has arrived; nothing means that the peer has closed."""
    # A peer that sends without end must not keep everybody else waiting.
    await trio.lowlevel.checkpoint()
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send everything."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def receive_plain(sock: socket.socket, tls: Tls | None) -> bytes:
    """Return what has arrived, decrypted; nothing means that the peer has closed."""
    if tls is None:
        return await receive_some(sock)
    data = tls.decrypt(b"")
    while not data and not tls.is_over:
        received = await receive_some(sock)
        if not received:
            break
        data = tls.decrypt(received)
    return data


async def read_head(
    role: type[h11.CLIENT] | type[h11.SERVER],
    sock: socket.socket,
    tls: Tls | None,
    *,
    max_size: int,
    early: bytes = b"",
) -> tuple[h11.Event, bytes] | None:
    """Read the head of a request (as server) or response (as client), and what came behind it.

    `early` is what was read before. Return None where the peer closes before. Raise `h11.RemoteProtocolError` for what
    is not HTTP.
    """
    reader = h11.Connection(role, max_incomplete_event_size=max_size)
    if role is h11.CLIENT:
        # The request itself was written by other means; the reader only has to expect its answer.
        reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x"), ("Upgrade", "x")]))
    size = 0
    while (event := reader.next_event()) is h11.NEED_DATA:
        data, early = early or await receive_plain(sock, tls), b""
        size += len(data)
        reader.receive_data(data)
    if not isinstance(event, h11.Request | h11.InformationalResponse | h11.Response):
        return None
    behind: bytes = reader.trailing_data[0]
    if size - len(behind) > max_size:
        # The reader itself looks only as long as it waits for more.
        raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
    return event, behind
