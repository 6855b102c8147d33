"""Waiting on plain non-blocking sockets, for the phases outside the hub."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import h11
import trio

if TYPE_CHECKING:
    from callstream_trio.tls import Tls


async def receive_some(sock: socket.socket, size: int = 65536) -> bytes:
    """Return what has arrived; nothing means that the peer has closed."""
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


async def read_head(
    role: type[h11.CLIENT] | type[h11.SERVER], sock: socket.socket, tls: Tls | None, *, max_size: int
) -> tuple[h11.Event, bytes] | None:
    """Read the head of a request (as server) or response (as client), and what came behind it.

    Return None where the peer closes before. Raise `h11.RemoteProtocolError` for what is not HTTP.
    """
    reader = h11.Connection(role, max_incomplete_event_size=max_size)
    if role is h11.CLIENT:
        # The request itself was written by other means; the reader only has to expect its answer.
        reader.send(h11.Request(method="GET", target="/", headers=[("Host", "x"), ("Upgrade", "x")]))
    event = reader.next_event()
    while event is h11.NEED_DATA:
        data = await receive_some(sock)
        if data and tls is not None:
            data = tls.decrypt(data)
            if not data:
                continue
        reader.receive_data(data)
        event = reader.next_event()
    if isinstance(event, h11.Request | h11.InformationalResponse | h11.Response):
        return event, reader.trailing_data[0]
    return None
